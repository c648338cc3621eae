"""`comfywatchman resolve`: where missing models can be had, and a person's choice where that is not certain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from comfywatchman.app.session import Session
from comfywatchman.base.files import CorruptFile, printable_path
from comfywatchman.base.text import format_size, pluralize
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_json, print_table, printable
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

BACKENDS: Final = ("qwen", "civitai", "huggingface", "civarchive")


@dataclass(frozen=True, slots=True)
class _ResolveOptions:
    backends: tuple[Backend, ...] | None
    refresh: bool
    as_json: bool


def _parse_backends(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    names = tuple(name.strip() for name in text.split(",")) if text is not None else None
    unknown = [name for name in names or () if name not in BACKENDS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(BACKENDS)}.")
    return names


@click.command()
@click.argument("workflows", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[WORKFLOW]...")
@click.option("--all", "every", is_flag=True, help="Look for what any watched workflow lacks.")
@click.option("--refresh", is_flag=True, help="Ask again, whatever earlier searches said.")
@click.option(
    "--backends",
    callback=_parse_backends,
    metavar="A,B",
    help=f"Whom to ask this time, in this order: {', '.join(BACKENDS)}.",
)
@click.option(
    "--choose", nargs=2, metavar="FILE CANDIDATE", help="Take a candidate, by its number or id, as the model."
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
    """Look for the models that workflows lack, and show for each where it can be had or what is doubtful about it.

    Nothing is downloaded. Exits with 1 when a model was not FOUND.
    """
    session: Session = context.obj
    if choose is not None:
        if workflows or every or refresh or backends:
            raise click.UsageError("--choose goes with --json only.")
        _record_choice(session, *choose, as_json=as_json)
        return
    if every == bool(workflows):
        raise click.UsageError("Name workflow files or folders, or give --all.")
    options = _ResolveOptions(cast("tuple[Backend, ...] | None", backends), refresh, as_json)
    results, problems = _resolve_models(session, workflows, options)
    if as_json:
        print_json(results=results, problems=problems)
    else:
        _print_results(results, problems)
    context.exit(DONE if all(one.status is SearchStatus.FOUND for one in results) else FAILED)


def _resolve_models(
    session: Session, workflows: tuple[Path, ...], options: _ResolveOptions
) -> tuple[tuple[SearchResult, ...], tuple[str, ...]]:
    from comfywatchman.readiness.assessment.dry_run import scan_files
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.search.api import resolve_missing
    from comfywatchman.readiness.search_step import expire_answers

    installation = session.require_installation("to judge workflows against")
    paths = workflows or tuple(root.path for root in session.roots(installation))
    look = scan_files(paths, installation=installation, settings=session.settings, layout=session.layout)
    missing = [(facts, model) for _path, _sha, facts, judged in look.workflows for model in judged.missing_models]
    with closing(open_database(session.layout.database)) as database, _show_progress(quiet=options.as_json) as progress:
        found = resolve_missing(missing, _build_request(session, installation, database, options, progress))
        expire_answers(database)
    return found.results, (*look.problems, *(_problem_text(one) for one in found.problems))


def _build_request(
    session: Session, installation: Installation, database: Database, options: _ResolveOptions, progress: Progress
) -> SearchRequest:
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.downloads.links import find_local_models
    from comfywatchman.readiness.search.api import SearchRequest
    from comfywatchman.readiness.search.budget import SearchBudget

    folders, _failures = resolve_folders(installation)

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
    return f"{printable_path(problem.path)} was damaged ({problem.reason}) and set aside"


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
    chosen = decision.candidate
    click.echo(f"{printable(decision.filename)} is {candidate_id(chosen)} ({printable(chosen.name)}) from now on.")


@contextmanager
def _show_progress(*, quiet: bool) -> Iterator[Progress]:
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("Looking for missing models", total=None)
        yield lambda done, every: bars.update(bar, completed=done, total=every)


def _print_results(results: tuple[SearchResult, ...], problems: tuple[str, ...]) -> None:
    if not results:
        click.echo("No model is missing.")
    else:
        print_table(("Model", "Folder", "Status", "Size", "Where"), [_result_row(one) for one in results])
    for one in results:
        if one.status is not SearchStatus.FOUND:
            _print_uncertain(one)
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _result_row(one: SearchResult) -> tuple[str, str, str, str, str]:
    where = one.url or (pluralize(len(one.candidates), "candidate") if one.candidates else "")
    return one.filename, one.type or "?", one.status.value, _format_optional_size(one.size), where


def _print_uncertain(one: SearchResult) -> None:
    from comfywatchman.readiness.search.decisions import candidate_id

    click.echo(f"\n{printable(one.filename)}: {one.status.value}")
    # Unreachable sites are reported once, below all models.
    for line in (*one.evidence, *describe_backends(one)):
        click.echo(f"  {printable(line)}")
    for number, candidate in enumerate(one.candidates, 1):
        click.echo(f"  {number}. {printable(candidate_id(candidate))}  {printable(_describe_candidate(candidate))}")
    if any(candidate.sha256 and candidate.url for candidate in one.candidates):
        click.echo(f"  To take one: comfywatchman resolve --choose {_quote(one.filename)} NUMBER")


def _describe_candidate(candidate: SearchCandidate) -> str:
    parts = (
        candidate.name,
        _format_optional_size(candidate.size),
        candidate.label or "",
        ", ".join(candidate.differences),
        "; ".join(candidate.reasons),
        (candidate.url or "") if not candidate.sha256 else "",
    )
    return " · ".join(part for part in parts if part)


def _format_optional_size(size: int | None) -> str:
    return "" if size is None else format_size(size)


def _quote(name: str) -> str:
    import shlex

    return shlex.quote(printable(name))
