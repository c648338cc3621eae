"""What a person has chosen for a missing model; later cycles keep to it, and a download still checks the hash."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, read_state, to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.readiness.search.claims import ModelQuery
from comfywatchman.readiness.search.results import MatchConfidence, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.sources.file_names import base_name
from comfywatchman.sources.urls import reason_to_refuse

_VERSION: Final = 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One choice.

    Attributes:
        filename: The model as workflows name it.
        folder: What its loader reads; null when unknown.
        candidate: What was chosen, with the hash that its hub gave then.
        decided_at: UTC, ISO 8601.
    """

    filename: str
    folder: str | None
    candidate: SearchCandidate
    decided_at: str


class Decisions(msgspec.Struct, frozen=True):
    """The file `state/decisions.json`.

    Attributes:
        schema_version: Of this form.
        decisions: By folder and name of the model.
    """

    schema_version: int = _VERSION
    decisions: dict[str, Decision] = {}

    def find_result(self, wanted: ModelQuery, policy: SearchPolicy, searched_at: str) -> SearchResult | None:
        """Return the answer that a choice gives for a model, or None when no usable one was made for it."""
        decision = self.decisions.get(_model_key(wanted.filename, wanted.folder))
        if decision is None or _reason_to_reject(decision.candidate, policy) is not None:
            return None
        chosen = decision.candidate
        return SearchResult(
            status=SearchStatus.FOUND,
            filename=wanted.filename,
            type=wanted.folder,
            searched_at=searched_at,
            source=chosen.source,
            ids=chosen.ids,
            url=chosen.url,
            # Civitai's sizes are rounded; the hash is what a download is held to.
            size=chosen.size if chosen.source != "civitai" else None,
            sha256=chosen.sha256,
            confidence=MatchConfidence.CHOSEN,
            candidates=(chosen,),
            evidence=(f"A person chose {candidate_id(chosen)} ({chosen.name}) at {decision.decided_at}.",),
            base_model=chosen.base_model,
        )


def load_decisions(path: Path) -> tuple[Decisions, CorruptFile | None]:
    """Read what was chosen; a damaged file is set aside and reported."""
    found = read_state(path, Decisions)
    if isinstance(found, CorruptFile):
        return Decisions(), found
    return found or Decisions(), None


def store_choice(path: Path, result: SearchResult, choice: str, *, policy: SearchPolicy, clock: Clock) -> Decision:
    """Remember which candidate of an answer is the model.

    Args:
        path: The file of choices.
        result: The answer that lists the candidates.
        choice: A candidate's id (see `candidate_id`), or its place in the list, from 1.
        policy: Which hosts may be fetched from.
        clock: For the time of the choice.

    Raises:
        Failure: `choice-impossible` when there is no such candidate or it could not be verified when it is fetched;
            `lock-held`, `state-unwritable`.
    """
    candidate = _find_candidate(result, choice)
    reason = _reason_to_reject(candidate, policy)
    if reason is not None:
        raise Failure(
            "choice-impossible",
            f"{candidate_id(candidate)} cannot be chosen: {reason}.",
            hint="Choose another candidate; comfywatchman resolve --all shows them.",
        )
    decision = Decision(result.filename, result.type, candidate, format_utc(clock.now()))
    with hold_lock(path.with_suffix(".lock"), command="resolve --choose", clock=clock):
        known, _damaged = load_decisions(path)
        kept = {**known.decisions, _model_key(result.filename, result.type): decision}
        write_atomic(path, to_json(Decisions(_VERSION, kept)))
    return decision


def find_answer(name: str, answers: Iterable[SearchResult]) -> SearchResult:
    """Return the latest answer about a model, with the candidates of its other answers behind its own. Pure.

    Args:
        name: As a workflow writes it, or its last part, with or without the model folder before it.
        answers: What is remembered, the latest first.

    Raises:
        Failure: `choice-impossible` when no model is called so, or several are.
    """
    listed = list(answers)
    wanted = name.replace("\\", "/")
    for names in (_full_names, _last_names):
        matching = {_model_key(one.filename, one.type): one for one in reversed(listed) if wanted in names(one)}
        if len(matching) > 1:
            raise Failure(
                "choice-impossible",
                f"Several models are called {name}.",
                hint=f"Name one of these: {', '.join(sorted(matching))}.",
            )
        for key, latest in matching.items():
            same = [one for one in listed if _model_key(one.filename, one.type) == key]
            candidates = dict.fromkeys(candidate for one in same for candidate in one.candidates)
            return msgspec.structs.replace(latest, candidates=tuple(candidates))
    raise Failure(
        "choice-impossible",
        f"Nothing is known of a missing model {name}.",
        hint="Look for it first: comfywatchman resolve --all",
    )


def _full_names(answer: SearchResult) -> set[str]:
    return {answer.filename.replace("\\", "/"), _model_key(answer.filename, answer.type)}


def _last_names(answer: SearchResult) -> set[str]:
    return {base_name(answer.filename), f"{answer.type or '?'}/{base_name(answer.filename)}"}


def candidate_id(candidate: SearchCandidate) -> str:
    """Return what names a candidate for people (`civitai:12/34/56`, `huggingface:owner/name/path`)."""
    ids = candidate.ids
    if ids.repo is not None:
        return f"huggingface:{ids.repo}/{ids.path or ''}"
    numbers = (ids.civitai_model, ids.civitai_version, ids.civitai_file)
    if any(number is not None for number in numbers):
        return "civitai:" + "/".join("" if number is None else str(number) for number in numbers)
    return f"{candidate.source}:{candidate.name}"


def _find_candidate(result: SearchResult, choice: str) -> SearchCandidate:
    listed = result.candidates
    if choice.isascii() and choice.isdigit() and 1 <= int(choice) <= len(listed):
        return listed[int(choice) - 1]
    matching = [one for one in listed if candidate_id(one) == choice]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(f"{place}: {candidate_id(one)}" for place, one in enumerate(listed, 1))
    raise Failure(
        "choice-impossible",
        f"{result.filename} has no candidate {choice}.",
        hint=f"Choose one of these: {known}." if known else "No candidates are known; run: comfywatchman resolve",
    )


def _reason_to_reject(candidate: SearchCandidate, policy: SearchPolicy) -> str | None:
    if candidate.url is None or reason_to_refuse(candidate.url, extra_hosts=policy.extra_hosts) is not None:
        return "it has no address that this program may fetch from"
    if candidate.sha256 is None or not _SHA256.fullmatch(candidate.sha256):
        return "its hub gives no SHA-256, so what is fetched could not be checked"
    return None


def _model_key(filename: str, folder: str | None) -> str:
    # With the folders that the workflow writes: `a/model.safetensors` and `b/model.safetensors` are two models.
    return f"{folder or '?'}/{filename.replace(chr(92), '/')}"
