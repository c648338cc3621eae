"""Candidates that a person has chosen for missing models. Later cycles keep to them, and downloads check the hash."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.state.state_file import CorruptFile, read_state, write_state
from comfywatchman.readiness.search.claims import SHA256_PATTERN, ModelQuery
from comfywatchman.readiness.search.results import MatchConfidence, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.sources.file_names import base_name, find_precision, tokenize
from comfywatchman.sources.urls import reason_to_refuse

_VERSION: Final = 1


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate that a person chose for one model.

    Attributes:
        filename: The model as workflows name it.
        folder: Model folder of the loader; null if unknown.
        candidate: The chosen file, with the hash that its hub stated then.
        decided_at: UTC, ISO 8601.
    """

    filename: str
    folder: str | None
    candidate: SearchCandidate
    decided_at: str


class Decisions(msgspec.Struct, frozen=True):
    """The file `state/decisions.json`.

    Attributes:
        schema_version: Version of this format.
        decisions: Choices by folder and name of the model.
    """

    schema_version: Literal[1] = _VERSION
    decisions: dict[str, Decision] = {}

    @property
    def listed(self) -> tuple[Decision, ...]:
        """All choices."""
        return tuple(self.decisions.values())

    def find_result(self, query: ModelQuery, policy: SearchPolicy, searched_at: str) -> SearchResult | None:
        """Return the chosen candidate of a model as a result; None without a usable choice."""
        decision = self.decisions.get(_model_key(query.filename, query.folder))
        if decision is None or _reason_to_reject(decision.candidate, policy) is not None:
            return None
        chosen = decision.candidate
        return SearchResult(
            status=SearchStatus.FOUND,
            filename=query.filename,
            type=query.folder,
            searched_at=searched_at,
            source=chosen.source,
            ids=chosen.ids,
            url=chosen.url,
            # Civitai rounds sizes, so a download checks the hash alone.
            size=chosen.size if chosen.source != "civitai" else None,
            sha256=chosen.sha256,
            confidence=MatchConfidence.CHOSEN,
            candidates=(chosen,),
            evidence=(f"A person chose {candidate_id(chosen)} ({chosen.name}) at {decision.decided_at}.",),
            base_model=chosen.base_model,
        )


def load_decisions(path: Path) -> tuple[Decisions, CorruptFile | None]:
    """Read the choices. A corrupt file is set aside and reported."""
    stored = read_state(path, Decisions)
    if isinstance(stored, CorruptFile):
        return Decisions(), stored
    return stored or Decisions(), None


def store_choice(path: Path, result: SearchResult, choice: str, *, policy: SearchPolicy, clock: Clock) -> Decision:
    """Store which candidate of a result is the model.

    Args:
        path: The file of choices.
        result: The result that lists the candidates.
        choice: Id of a candidate (see `candidate_id`), or its number in the list, from 1.
        policy: Hosts from which files may be downloaded.
        clock: For the time of the choice.

    Raises:
        Failure: `choice-impossible` if there is no such candidate, or its download could not be verified;
            `lock-held`, `state-newer`, `state-unwritable`.
    """
    candidate = _find_candidate(result, choice)
    reason = _reason_to_reject(candidate, policy)
    if reason is not None:
        raise Failure(
            "choice-impossible",
            f"{candidate_id(candidate)} cannot be chosen: {reason}.",
            hint="Choose another candidate; comfywatchman resolve --all lists them.",
        )
    decision = Decision(result.filename, result.type, candidate, format_utc(clock.now()))
    with hold_lock(path.with_suffix(".lock"), command="resolve --choose", clock=clock):
        # Read again under the lock: another command may have stored a choice in the meantime.
        stored, _corrupt = load_decisions(path)
        decisions = {**stored.decisions, _model_key(result.filename, result.type): decision}
        write_state(path, Decisions(decisions=decisions))
    return decision


def find_stored_result(name: str, results: Iterable[SearchResult]) -> SearchResult:
    """Return the latest result for a model, with the candidates of its older results appended. Pure.

    Args:
        name: As a workflow writes it, or its last part, with or without the model folder before it.
        results: The stored results, the latest first.

    Raises:
        Failure: `choice-impossible` if no model has this name, or several have.
    """
    listed = list(results)
    wanted_name = name.replace("\\", "/")
    # A full name wins over a last part: `a.safetensors` need not be written out because of `sub/a.safetensors`.
    for list_names in (_list_full_names, _list_last_names):
        keys = {_model_key(result.filename, result.type) for result in listed if wanted_name in list_names(result)}
        if len(keys) > 1:
            raise Failure(
                "choice-impossible",
                f"Several models are called {name}.",
                hint=f"Name one of these: {', '.join(sorted(keys))}.",
            )
        for key in keys:
            same_model = [result for result in listed if _model_key(result.filename, result.type) == key]
            candidates = dict.fromkeys(candidate for result in same_model for candidate in result.candidates)
            return msgspec.structs.replace(same_model[0], candidates=tuple(candidates))
    raise Failure(
        "choice-impossible",
        f"There is no search result for the missing model {name}.",
        hint="Search for it first: comfywatchman resolve --all",
    )


def _list_full_names(result: SearchResult) -> set[str]:
    return {result.filename.replace("\\", "/"), _model_key(result.filename, result.type)}


def _list_last_names(result: SearchResult) -> set[str]:
    return {base_name(result.filename), f"{result.type or '?'}/{base_name(result.filename)}"}


def mark_candidates(result: SearchResult, local_models: Mapping[str, str]) -> SearchResult:
    """Return a result whose candidates name the equal files of this host, and one of which may be suggested. Pure.

    Args:
        result: The result.
        local_models: Paths of this host's model files by SHA-256.
    """
    candidates = []
    for candidate in result.candidates:
        path = local_models.get(candidate.sha256 or "")
        candidates.append(msgspec.structs.replace(candidate, local_path=path, suggested=False))
    suggested = suggest_candidate(result.filename, candidates)
    if suggested is not None:
        candidates[suggested] = msgspec.structs.replace(candidates[suggested], suggested=True)
    return msgspec.structs.replace(result, candidates=tuple(candidates))


def suggest_candidate(filename: str, candidates: Sequence[SearchCandidate]) -> int | None:
    """Return the index of the candidate to suggest; None where that would be a guess. Pure.

    Only files that passed every check are suggested: one that this host has already, else one of a single version or
    repository, where the name decides (`fp16`, `pruned`), then the site's main file, then the smaller one.
    """
    usable = [index for index, candidate in enumerate(candidates) if candidate.verified and is_choosable(candidate)]
    local = [index for index in usable if candidates[index].local_path is not None]
    if local:
        return local[0]
    places = {(candidates[index].ids.civitai_version, candidates[index].ids.repo) for index in usable}
    if len(places) != 1:
        return None
    return min(usable, key=lambda index: _rank_suggestion(filename, candidates[index]))


def _rank_suggestion(filename: str, candidate: SearchCandidate) -> tuple[int, bool, float]:
    details = candidate.details
    tokens = tokenize(base_name(filename))
    wanted_precision = find_precision(base_name(filename))
    contradictions = 0
    if wanted_precision and details.precision and wanted_precision != details.precision.lower():
        contradictions += 1
    for pruning, other in (("pruned", "full"), ("full", "pruned")):
        if pruning in tokens and details.pruning == other:
            contradictions += 1
    return contradictions, not details.is_primary, candidate.size or math.inf


def is_choosable(candidate: SearchCandidate) -> bool:
    """Return whether a person can choose a candidate: it has an address, and a hash that proves its download."""
    return candidate.url is not None and candidate.sha256 is not None


def candidate_id(candidate: SearchCandidate) -> str:
    """Return the id by which people choose a candidate (`civitai:12/34/56`, `huggingface:owner/name/path`)."""
    ids = candidate.ids
    if ids.repo is not None:
        return f"huggingface:{ids.repo}/{ids.path or ''}"
    numbers = (ids.civitai_model, ids.civitai_version, ids.civitai_file)
    if any(number is not None for number in numbers):
        return "civitai:" + "/".join("" if number is None else str(number) for number in numbers)
    return f"{candidate.source}:{candidate.name}"


def _find_candidate(result: SearchResult, choice: str) -> SearchCandidate:
    candidates = result.candidates
    if choice.isascii() and choice.isdigit() and 1 <= int(choice) <= len(candidates):
        return candidates[int(choice) - 1]
    matching = [candidate for candidate in candidates if candidate_id(candidate) == choice]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(f"{number}: {candidate_id(candidate)}" for number, candidate in enumerate(candidates, 1))
    raise Failure(
        "choice-impossible",
        f"{result.filename} has no candidate {choice}.",
        hint=f"Choose one of these: {known}." if known else _suggest_search(result),
    )


def _suggest_search(result: SearchResult) -> str:
    return f"No candidates are known; search again: comfywatchman resolve --refresh {shlex.quote(result.filename)}"


def _reason_to_reject(candidate: SearchCandidate, policy: SearchPolicy) -> str | None:
    if candidate.url is None or reason_to_refuse(candidate.url, extra_hosts=policy.extra_hosts) is not None:
        return "it has no URL from which this program may download"
    if candidate.sha256 is None or not SHA256_PATTERN.fullmatch(candidate.sha256):
        return "its hub states no SHA-256, so its download could not be verified"
    return None


def _model_key(filename: str, folder: str | None) -> str:
    # With the subfolders of the workflow: `a/model.safetensors` and `b/model.safetensors` are two models.
    return f"{folder or '?'}/{filename.replace(chr(92), '/')}"
