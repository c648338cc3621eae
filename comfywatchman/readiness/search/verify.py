"""Whether what somebody proposes for a model is that model: decided from what the hub itself says, and nothing else.

Pure: `readiness.search.gather` asks the hubs. Proposals come from workflows, notes, catalogues, searches and language
models; all of them are claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.readiness.search.claims import HubRecord, ModelQuery
from comfywatchman.readiness.search.model_types import check_type
from comfywatchman.readiness.search.results import (
    DIFFERING_HASHES,
    MAX_CANDIDATES,
    SearchCandidate,
    SearchResult,
    SearchStatus,
    silence_text,
)
from comfywatchman.sources.file_names import (
    PICKLE_EXTENSIONS,
    extension,
    find_differing_tokens,
    is_generic,
    is_precision_variant,
    is_same_name,
    reason_invalid_model_name,
)
from comfywatchman.sources.urls import NO_HOSTS, reason_to_refuse

NOT_VERIFIED: Final = "not verified"
OTHER_PRECISION: Final = "same model, other precision"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BAD_SCANS: Final = frozenset({"danger", "unsafe", "infected"})
_PLACEHOLDER_BYTES: Final = 1 << 10
_MIN_BYTES: Final = {"checkpoints": 1 << 16, "diffusion_models": 1 << 16, "text_encoders": 1 << 16}
_MAX_BYTES: Final = {"embeddings": 2 << 30, "loras": 64 << 30}
_MAX_BYTES_ANY_FOLDER: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class SearchPolicy:
    """What may become FOUND.

    Attributes:
        allow_pickle: Formats that can run code when opened are accepted too.
        extra_hosts: Hosts with port beyond the known ones (see `sources.urls.hub_place`).
    """

    allow_pickle: bool = False
    extra_hosts: frozenset[str] = NO_HOSTS


def decide_result(
    wanted: ModelQuery, facts: Iterable[HubRecord], *, policy: SearchPolicy, searched_at: str
) -> SearchResult:
    """Decide what a model's proposals prove.

    One hash among those that pass every check is FOUND, several are UNCERTAIN. Without any, what was proposed and
    exists is UNCERTAIN with its reasons; a hub that could not be asked makes it an ERROR, never NOT_FOUND.

    Args:
        wanted: The model.
        facts: What the hubs say of each proposal, the most trusted first.
        policy: What may be accepted.
        searched_at: The moment of asking, as state files write it.
    """
    answer = SearchResult(SearchStatus.NOT_FOUND, wanted.filename, wanted.folder, searched_at)
    invalid = reason_invalid(wanted)
    if invalid is not None:
        return _build_result(
            answer, SearchStatus.INVALID_FILENAME, (), (f"{wanted.filename!r} cannot be looked for: {invalid}.",)
        )
    judged = [(one, list_objections(wanted, one, policy)) for one in facts]
    passed = [one for one, reasons in judged if not reasons]
    hashes = {one.sha256 for one in passed}
    shown = _build_candidates(wanted, judged)
    evidence = _build_evidence(judged)
    if len(hashes) == 1:
        return _build_found(answer, wanted, passed, evidence)
    if hashes:
        return _build_result(answer, SearchStatus.UNCERTAIN, shown, (*evidence, DIFFERING_HASHES))
    if any(one.state != "unknown" for one, reasons in judged if _is_shown(wanted, one)):
        return _build_result(answer, SearchStatus.UNCERTAIN, shown, evidence)
    status = SearchStatus.ERROR if any(one.state == "unknown" for one, _ in judged) else SearchStatus.NOT_FOUND
    return _build_result(answer, status, shown, evidence)


def reason_invalid(wanted: ModelQuery) -> str | None:
    """Say why no file can be meant, or None: one of the names that the server tries must be a model's."""
    reasons = [reason_invalid_model_name(wanted.filename if len(wanted.names) == 1 else name) for name in wanted.names]
    return None if None in reasons else next((one for one in reasons if one is not None), "it is empty")


def list_objections(wanted: ModelQuery, facts: HubRecord, policy: SearchPolicy) -> tuple[str, ...]:
    """Say what keeps a proposed file from being the model; nothing when it passes every check."""
    if facts.state == "unknown":
        return (NOT_VERIFIED if facts.said == silence_text(facts.source) else f"{NOT_VERIFIED}: {facts.said}",)
    if facts.state != "there":
        return (facts.said or "its hub does not show it",)
    checks = (
        _check_url(facts, policy),
        _check_name(wanted, facts),
        check_type(facts.model_type, facts.file_type, wanted.folder),
        _check_scans(facts),
        _check_format(facts, policy),
        _check_size(facts, wanted.folder),
        _check_hash(wanted, facts),
    )
    return tuple(reason for reason in checks if reason is not None)


def describe_differences(wanted: ModelQuery, name: str) -> tuple[str, ...]:
    """Say where a name differs from the one wanted, for people (`8steps ≠ 4steps`)."""
    nearest = min((find_differing_tokens(one, name) for one in wanted.names), key=len, default=())
    return tuple(f"{mine or 'nothing'} ≠ {theirs or 'nothing'}" for mine, theirs in nearest)


def _check_url(facts: HubRecord, policy: SearchPolicy) -> str | None:
    if facts.url is None:
        return "it has no address that may be used"
    return reason_to_refuse(facts.url, extra_hosts=policy.extra_hosts)


def _check_name(wanted: ModelQuery, facts: HubRecord) -> str | None:
    if wanted.sha256 is not None and facts.sha256 == wanted.sha256:
        return None
    proposal = facts.proposal
    own = next((name for name in wanted.names if is_same_name(name, facts.name)), None)
    # A declaration or a catalogue may keep a file under another name than the hub does; nobody else may say so.
    kept = next((name for name in wanted.names if is_same_name(name, proposal.name)), None)
    if own is None and (kept is None or proposal.by not in {"workflow", "catalogue"}):
        return "its name is another one"
    if own is None and extension(kept or "") != extension(facts.name):
        return "its format is another one"
    if proposal.by != "workflow" and is_generic(own or kept or ""):
        return "so many models bear this name that it proves nothing"
    return None


def _check_scans(facts: HubRecord) -> str | None:
    bad = [scan for scan in facts.scans if scan.lower() in _BAD_SCANS]
    return f"a scanner found something in it ({', '.join(bad)})" if bad else None


def _check_format(facts: HubRecord, policy: SearchPolicy) -> str | None:
    pickle = facts.format == "PickleTensor" or extension(facts.name) in PICKLE_EXTENSIONS
    if pickle and not policy.allow_pickle:
        return "its format can run code when opened, and such formats were not allowed"
    return None


def _check_size(facts: HubRecord, folder: str | None) -> str | None:
    if facts.size is None:
        return "its size is not known"
    least = _MIN_BYTES.get(folder or "", _PLACEHOLDER_BYTES)
    most = _MAX_BYTES.get(folder or "", _MAX_BYTES_ANY_FOLDER)
    return None if least <= facts.size <= most else f"{facts.size} bytes is no size of such a model"


def _check_hash(wanted: ModelQuery, facts: HubRecord) -> str | None:
    if facts.sha256 is None or not _SHA256.fullmatch(facts.sha256):
        return "its hub gives no SHA-256 for it"
    claimed = wanted.sha256 or facts.proposal.sha256
    return None if claimed in {None, facts.sha256} else "its hash is not the one that was declared"


def _build_found(
    answer: SearchResult, wanted: ModelQuery, passed: Sequence[HubRecord], evidence: tuple[str, ...]
) -> SearchResult:
    # Stable: among equals the order of proposals stands.
    ranked = sorted(passed, key=lambda one: _CONFIDENCES.index(_rate_confidence(wanted, one)))
    best = ranked[0]
    notes = tuple(f"{one.note}." for one in ranked[:1] if one.note)
    proof = f"{best.proposal.who}: {_describe_location(best)} passed every check."
    changed = () if best.name in wanted.names else (f"There it is called {best.name}.",)
    return SearchResult(
        status=SearchStatus.FOUND,
        filename=answer.filename,
        type=answer.type,
        searched_at=answer.searched_at,
        source=best.source,
        ids=best.ids,
        url=best.url,
        size=best.size if best.size_is_exact else None,
        sha256=best.sha256,
        confidence=_rate_confidence(wanted, best),
        candidates=tuple(_build_candidate(wanted, one, ()) for one in ranked[:MAX_CANDIDATES]),
        evidence=(*evidence, proof, *changed, *notes),
        base_model=best.base_model,
    )


_CONFIDENCES: Final = ("hash", "exact name", "name in other case", "declared")


def _rate_confidence(wanted: ModelQuery, facts: HubRecord) -> str:
    if wanted.sha256 is not None:
        return "hash"
    if facts.name in wanted.names:
        return "exact name"
    same = any(is_same_name(name, facts.name) for name in wanted.names)
    return "name in other case" if same else "declared"


def _build_candidates(
    wanted: ModelQuery, judged: Sequence[tuple[HubRecord, tuple[str, ...]]]
) -> tuple[SearchCandidate, ...]:
    found = [_build_candidate(wanted, one, reasons) for one, reasons in judged if _is_shown(wanted, one)]
    found.sort(key=lambda one: (not one.verified, one.label is not None, len(one.differences)))
    return tuple(dict.fromkeys(found))[:MAX_CANDIDATES]


def _is_shown(wanted: ModelQuery, facts: HubRecord) -> bool:
    """Say whether a person should see it: it exists, and bears the name or hash or was claimed to be this very model.

    A look-alike that our own search met, or that a note links to for another model, was not.
    """
    if facts.state == "absent":
        return False
    named = any(is_same_name(name, facts.name) or is_precision_variant(name, facts.name) for name in wanted.names)
    same_bytes = wanted.sha256 is not None and facts.sha256 == wanted.sha256
    return named or same_bytes or facts.proposal.by not in {"search", "note"}


def _build_candidate(wanted: ModelQuery, facts: HubRecord, reasons: tuple[str, ...]) -> SearchCandidate:
    variant = any(is_precision_variant(name, facts.name) for name in wanted.names)
    return SearchCandidate(
        source=facts.source,
        name=facts.name or facts.proposal.name,
        ids=facts.ids,
        url=None if _is_suspicious(facts) else facts.url,
        size=facts.size,
        sha256=facts.sha256,
        reasons=reasons,
        differences=describe_differences(wanted, facts.name) if facts.name else (),
        label=OTHER_PRECISION if variant else None,
        proposed_by=facts.proposal.who,
        verified=not reasons,
        base_model=facts.base_model,
    )


def _is_suspicious(facts: HubRecord) -> bool:
    return _check_scans(facts) is not None


def _build_evidence(judged: Iterable[tuple[HubRecord, tuple[str, ...]]]) -> tuple[str, ...]:
    said = [one for one, _ in judged if one.state != "there" and one.said]
    lines = (one.said if one.state == "unknown" else f"{one.proposal.who}: {one.said}" for one in said)
    return tuple(dict.fromkeys(lines))


def _describe_location(facts: HubRecord) -> str:
    ids = facts.ids
    if ids.repo is not None:
        return f"{ids.repo}/{ids.path} on Hugging Face"
    return f"file {ids.civitai_file} of version {ids.civitai_version} on Civitai"


def _build_result(
    answer: SearchResult, status: SearchStatus, candidates: tuple[SearchCandidate, ...], evidence: tuple[str, ...]
) -> SearchResult:
    return SearchResult(
        status=status,
        filename=answer.filename,
        type=answer.type,
        searched_at=answer.searched_at,
        candidates=candidates,
        evidence=evidence,
    )
