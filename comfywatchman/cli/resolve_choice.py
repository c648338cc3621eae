"""Choosing a candidate for a missing model: `resolve --choose`, with one keystroke on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

import click

from comfywatchman.app.session import Session
from comfywatchman.base.text import format_size
from comfywatchman.cli.render import print_json, printable
from comfywatchman.readiness.report.search_results import describe_details
from comfywatchman.readiness.search.results import SearchCandidate, SearchResult, SearchStatus

_KEYS: Final = "123456789abc"
"""Keys that choose a candidate, in the order of the list."""

_MODEL_AND_CANDIDATE: Final = 2
_ENTER: Final = frozenset({"\r", "\n"})
_SKIP: Final = "s"
_STOP: Final = frozenset({"q", "\x1b", "\x03", "\x04"})


def choose_candidates(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """Store a choice that was given, or ask for one with a single key.

    Args:
        session: The call.
        names: A model and a candidate; a model, to be asked for its candidate; or nothing for all models.
        as_json: Print the decision as JSON.
    """
    if len(names) == _MODEL_AND_CANDIDATE:
        _store(session, _read_results(session, names[0])[0], names[1], as_json=as_json)
        return
    if len(names) > _MODEL_AND_CANDIDATE:
        raise click.UsageError("--choose takes a model and a candidate, a model, or nothing.")
    if as_json or not sys.stdin.isatty():
        raise click.UsageError("Without a terminal, give model and candidate: --choose FILE CANDIDATE.")
    results = _read_results(session, *names)
    if not results:
        click.echo("No model has candidates to choose from.")
    for result in results:
        print_candidates(result)
        choice = ask_for_choice(result, click.getchar)
        if choice is None:
            break
        if choice:
            _store(session, result, choice, as_json=False)


def ask_for_choice(result: SearchResult, read_key: Callable[[], str]) -> str | None:
    """Return the number of the chosen candidate after one key; empty to skip the model, None to stop.

    Args:
        result: A result with candidates.
        read_key: Waits for a key.
    """
    suggested = [number for number, candidate in enumerate(result.candidates, 1) if candidate.suggested]
    keys = _KEYS[: len(result.candidates)]
    enter = f", Enter for {suggested[0]}" if suggested else ""
    click.echo(f"  Press {keys[0]} to {keys[-1]}{enter}, s to skip, q to stop: ", nl=False)
    while True:
        key = read_key().lower()
        if key in _STOP:
            click.echo("stopped")
            return None
        if key == _SKIP:
            click.echo("skipped")
            return ""
        if key in _ENTER and suggested:
            click.echo(str(suggested[0]))
            return str(suggested[0])
        if len(key) == 1 and key in keys:
            number = str(keys.index(key) + 1)
            click.echo(number)
            return number


def print_candidates(result: SearchResult) -> None:
    """Print the candidates of a result, numbered, each with what tells it apart and its page."""
    from comfywatchman.readiness.search.decisions import candidate_id

    click.echo(f"\n{printable(result.filename)} ({printable(result.type or 'folder unknown')})")
    for number, candidate in enumerate(result.candidates, 1):
        click.echo(f"  {number}. {printable(candidate_id(candidate))}  {printable(describe_candidate(candidate))}")
        if candidate.details.page:
            click.echo(f"     {printable(candidate.details.page)}")


def describe_candidate(candidate: SearchCandidate) -> str:
    """Return a candidate in one line: name, size, what tells it apart, and what speaks against it."""
    parts = (
        candidate.name,
        format_optional_size(candidate.size),
        candidate.base_model or "",
        *describe_details(candidate),
        candidate.label or "",
        ", ".join(candidate.differences),
        "; ".join(candidate.reasons),
        # Without a hash it cannot be chosen; the page shows where to get it by hand.
        "" if candidate.sha256 else candidate.url or "",
    )
    return " · ".join(part for part in parts if part)


def format_optional_size(size: int | None) -> str:
    """Return a size for people; empty if it is unknown."""
    return "" if size is None else format_size(size)


def _read_results(session: Session, name: str | None = None) -> list[SearchResult]:
    """Return the stored result of a model, or those of all models with candidates that nobody has chosen from."""
    from comfywatchman.app.model_choice import read_search_results
    from comfywatchman.readiness.search.decisions import find_stored_result, load_decisions, mark_candidates

    answers = read_search_results(session)
    local_models = _list_local_models(session)
    if name is not None:
        return [mark_candidates(find_stored_result(name, answers), local_models)]
    decided = {(decision.filename, decision.folder) for decision in load_decisions(session.layout.decisions)[0].listed}
    results: dict[tuple[str, str | None], SearchResult] = {}
    for answer in answers:
        # The latest answer of a model comes first.
        results.setdefault((answer.filename, answer.type), answer)
    return [
        mark_candidates(result, local_models)
        for key, result in sorted(results.items(), key=str)
        if key not in decided and result.status is SearchStatus.UNCERTAIN and result.has_choice
    ]


def _list_local_models(session: Session) -> Mapping[str, str]:
    """Return the model files of this host by SHA-256; none where there is no ComfyUI to look at."""
    from comfywatchman.base.errors import Failure
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.downloads.links import find_local_models

    try:
        folders, _blockers = resolve_folders(session.require_installation("to look for equal files on"))
    except Failure:
        return {}
    return {sha256: file.path for sha256, file in find_local_models(session.layout.database, folders).items()}


def _store(session: Session, result: SearchResult, choice: str, *, as_json: bool) -> None:
    from comfywatchman.app.model_choice import choose_candidate
    from comfywatchman.readiness.search.decisions import candidate_id

    decision = choose_candidate(session, result, choice)
    if as_json:
        print_json(decision=decision)
        return
    candidate = decision.candidate
    shown = f"{candidate_id(candidate)} ({printable(candidate.name)})"
    click.echo(f"From now on {printable(decision.filename)} is {shown}.")
