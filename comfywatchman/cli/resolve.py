"""`comfywatchman resolve`: search for missing models, and choose among candidates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from comfywatchman.app.session import Session
from comfywatchman.base.files import CorruptFile, printable_path
from comfywatchman.base.text import format_size, pluralize
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_table, printable, result_code
from comfywatchman.readiness.search.context import BACKENDS
from comfywatchman.readiness.search.results import (
    SearchCandidate,
    SearchResult,
    SearchStatus,
    describe_backends,
)

if TYPE_CHECKING:
    from comfywatchman.comfyui.install.install import Installation
    from comfywatchman.readiness.database import Database
    from comfywatchman.readiness.search.api import SearchRequest
    from comfywatchman.readiness.search.context import Backend

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _ResolveOptions:
    backends: tuple[Backend, ...] | None
    refresh: bool
    as_json: bool


def _parse_backends(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in BACKENDS:
            raise click.BadParameter(f"Unknown backend {name!r}. Choose from {', '.join(BACKENDS)}.")
    return names


@click.command()
@click.argument("workflows", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[WORKFLOW]...")
@click.option("--all", "every", is_flag=True, help="Search for the missing models of all watched workflows.")
@click.option("--refresh", is_flag=True, help="Search again, ignoring stored results.")
@click.option(
    "--backends",
    callback=_parse_backends,
    metavar="A,B",
    help=f"Backends to ask this time, in this order: {', '.join(BACKENDS)}.",
)
@click.option(
    "--choose", nargs=2, metavar="FILE CANDIDATE", help="Choose a candidate for a model, by its number or id."
)
@json_option
@click.pass_context
def resolve(
    context: click.Context,
    workflows: tuple[Path, ...],
    every: bool,
    refresh: bool,
    backends: tuple[str, ...] | None,
    choose: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Search for models that workflows lack, and choose among candidates.

    Shows the source of each model that is FOUND, and the doubts and candidates for the others. Nothing is downloaded.
    Exits with 1 when a model was not FOUND.
    """
    session: Session = context.obj
    if choose is not None:
        if workflows or every or refresh or backends:
            raise click.UsageError("--choose can be combined with --json only.")
        _record_choice(session, *choose, as_json=as_json)
        return
    if every == bool(workflows):
        raise click.UsageError("Give workflow files or folders, or --all.")
    options = _ResolveOptions(cast("tuple[Backend, ...] | None", backends), refresh, as_json)
    results, problems = _resolve_models(session, workflows, options)
    if as_json:
        print_json(results=results, problems=problems)
    else:
        _print_results(results, problems)
    context.exit(result_code(success=all(result.status is SearchStatus.FOUND for result in results)))


def _resolve_models(
    session: Session, workflows: tuple[Path, ...], options: _ResolveOptions
) -> tuple[tuple[SearchResult, ...], tuple[str, ...]]:
    from comfywatchman.readiness.assessment.dry_run import scan_files
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.search.api import resolve_missing
    from comfywatchman.readiness.search_step import expire_answers

    installation = session.require_installation("to check workflows against")
    paths = workflows or tuple(root.path for root in session.roots(installation))
    dry_run = scan_files(paths, installation=installation, settings=session.settings, layout=session.layout)
    missing = []
    for workflow in dry_run.workflows:
        missing += [(workflow.facts, model) for model in workflow.verdict.missing_models]
    with closing(open_database(session.layout.database)) as database, _show_progress(quiet=options.as_json) as progress:
        outcome = resolve_missing(missing, _build_request(session, installation, database, options, progress))
        expire_answers(database)
    problems = [*dry_run.problems, *(_problem_text(problem) for problem in outcome.problems)]
    return outcome.results, tuple(problems)


def _build_request(
    session: Session, installation: Installation, database: Database, options: _ResolveOptions, progress: Progress
) -> SearchRequest:
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.downloads.links import find_local_models
    from comfywatchman.readiness.search.api import SearchRequest
    from comfywatchman.readiness.search.budget import SearchBudget

    folders, _blockers = resolve_folders(installation)

    def list_local_models() -> dict[str, str]:
        return {sha256: file.path for sha256, file in find_local_models(session.layout.database, folders).items()}

    return SearchRequest(
        settings=session.settings,
        layout=session.layout,
        root=installation.root,
        custom_nodes=folders.custom_nodes,
        clock=session.clock,
        database=database,
        budget=SearchBudget(session.clock),
        list_local_models=list_local_models,
        backends=options.backends,
        refresh=options.refresh,
        retry_errors=True,
        progress=progress,
    )


def _problem_text(problem: str | CorruptFile) -> str:
    if isinstance(problem, str):
        return problem
    return f"{printable_path(problem.path)} was corrupt ({problem.reason}) and was set aside"


def _record_choice(session: Session, name: str, choice: str, *, as_json: bool) -> None:
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.search.cache import SearchCache
    from comfywatchman.readiness.search.decisions import candidate_id, find_stored_result, store_choice
    from comfywatchman.readiness.search.factory import build_policy

    with closing(open_database(session.layout.database)) as database:
        answers = SearchCache(database, now=session.clock.now()).read_results()
    decision = store_choice(
        session.layout.decisions,
        find_stored_result(name, answers),
        choice,
        policy=build_policy(session.settings),
        clock=session.clock,
    )
    if as_json:
        print_json(decision=decision)
        return
    candidate = decision.candidate
    choice = f"{candidate_id(candidate)} ({printable(candidate.name)})"
    click.echo(f"From now on {printable(decision.filename)} is {choice}.")


@contextmanager
def _show_progress(*, quiet: bool) -> Iterator[Progress]:
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("Searching for missing models", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _print_results(results: tuple[SearchResult, ...], problems: tuple[str, ...]) -> None:
    if not results:
        click.echo("No model is missing.")
    else:
        print_table(("Model", "Folder", "Status", "Size", "Where"), [_result_row(result) for result in results])
    for result in results:
        if result.status is not SearchStatus.FOUND:
            _print_uncertain(result)
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _result_row(result: SearchResult) -> tuple[str, str, str, str, str]:
    where = ""
    if result.url:
        where = result.url
    elif result.candidates:
        where = pluralize(len(result.candidates), "candidate")
    return result.filename, result.type or "?", result.status.value, _format_optional_size(result.size), where


def _print_uncertain(result: SearchResult) -> None:
    from comfywatchman.readiness.search.decisions import candidate_id

    click.echo(f"\n{printable(result.filename)}: {result.status.value}")
    # Unreachable sites are reported once, below all models.
    for line in (*result.evidence, *describe_backends(result)):
        click.echo(f"  {printable(line)}")
    for number, candidate in enumerate(result.candidates, 1):
        click.echo(f"  {number}. {printable(candidate_id(candidate))}  {printable(_describe_candidate(candidate))}")
    if any(candidate.sha256 and candidate.url for candidate in result.candidates):
        click.echo(f"  To choose one: comfywatchman resolve --choose {_quote(result.filename)} NUMBER")


def _describe_candidate(candidate: SearchCandidate) -> str:
    parts = (
        candidate.name,
        _format_optional_size(candidate.size),
        candidate.label or "",
        ", ".join(candidate.differences),
        "; ".join(candidate.reasons),
        # Without a hash it cannot be chosen; the page shows where to get it by hand.
        "" if candidate.sha256 else candidate.url or "",
    )
    return " · ".join(part for part in parts if part)


def _format_optional_size(size: int | None) -> str:
    return "" if size is None else format_size(size)


def _quote(name: str) -> str:
    import shlex

    return shlex.quote(printable(name))
