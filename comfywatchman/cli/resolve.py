"""`comfywatchman resolve`: search for missing models, and choose among candidates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.state.state_file import CorruptFile, describe_corrupt_file
from comfywatchman.base.text import pluralize
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, print_step, print_table, printable, result_code
from comfywatchman.cli.resolve_choice import choose_candidates, describe_candidate, format_optional_size
from comfywatchman.readiness.search.context import BACKENDS
from comfywatchman.readiness.search.results import (
    SearchResult,
    SearchStatus,
    describe_absence,
    describe_backends,
    describe_unreachable,
)
from comfywatchman.readiness.states import SEARCH_DOUBT_TEXT

if TYPE_CHECKING:
    from comfywatchman.comfyui.install.install import Installation
    from comfywatchman.readiness.database import Database
    from comfywatchman.readiness.search.api import SearchRequest
    from comfywatchman.readiness.search.context import Backend

Progress = Callable[[int, int], None]
_ModelKey = tuple[str | None, str]
"""Folder and name of a model, as a workflow writes it."""


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
@click.argument("names", nargs=-1, metavar="[WORKFLOW | MODEL]...", shell_complete=complete_names("workflow or model"))
@click.option("--all", "every", is_flag=True, help="Search for the missing models of all watched workflows.")
@click.option("--refresh", is_flag=True, help="Search again, ignoring stored results.")
@click.option(
    "--backends",
    callback=_parse_backends,
    metavar="A,B",
    help=f"Backends to query in this search, in this order: {', '.join(BACKENDS)}.",
)
@click.option(
    "--choose",
    is_flag=True,
    help="Choose a candidate: MODEL CANDIDATE, by its number or id; or with one key, for MODEL or for all models.",
)
@json_option
@click.pass_context
def resolve(
    context: click.Context,
    names: tuple[str, ...],
    every: bool,
    refresh: bool,
    backends: tuple[str, ...] | None,
    choose: bool,
    as_json: bool,
) -> None:
    """Search for models that workflows lack, and choose among candidates.

    Shows the source of each model that is FOUND, and the doubts and candidates for the others. Nothing is downloaded.
    Exits with 1 when a model was not FOUND.

    \b
    Examples:
      comfywatchman resolve --all
      comfywatchman resolve portrait.json
    """
    session: Session = context.obj
    session.start_log()
    if choose:
        if every or refresh or backends:
            raise click.UsageError("--choose can be combined with --json only.")
        choose_candidates(session, names, as_json=as_json)
        return
    if every == bool(names):
        raise click.UsageError("Give workflows or models, or --all.")
    options = _ResolveOptions(cast("tuple[Backend, ...] | None", backends), refresh, as_json)
    workflows, models = _split_names(session, names)
    results, problems = _resolve_models(session, workflows, models, options)
    if as_json:
        print_json(results=results, problems=problems)
    else:
        _print_results(results, problems)
    context.exit(result_code(success=all(result.status is SearchStatus.FOUND for result in results)))


def _split_names(session: Session, names: tuple[str, ...]) -> tuple[tuple[Path, ...], frozenset[_ModelKey] | None]:
    """Return the workflows that were named, and folder and name of the models; None for all models of the workflows."""
    from comfywatchman.cli.workflow_names import find_workflow, read_last_report, unknown_workflow_failure
    from comfywatchman.readiness.downloads.requests import find_models, list_missing_models
    from comfywatchman.readiness.workflows.names import suggest_names

    report = None
    workflows: list[Path] = []
    models: set[_ModelKey] = set()
    for name in names:
        path = find_workflow(session, name)
        if path is not None:
            workflows.append(path)
            continue
        report = report or read_last_report(session)
        known = list_missing_models(report) if report is not None else ()
        found = find_models(name, known)
        if not found:
            raise unknown_workflow_failure(session, name, suggest_names(name, [model.name for model in known]))
        models.update((model.folder, model.name) for model in found)
    if models and workflows:
        raise click.UsageError("Give workflows or models, not both.")
    return tuple(workflows), frozenset(models) or None


def _resolve_models(
    session: Session, workflows: tuple[Path, ...], models: frozenset[_ModelKey] | None, options: _ResolveOptions
) -> tuple[tuple[SearchResult, ...], tuple[str, ...]]:
    from comfywatchman.readiness.assessment.dry_run import scan_files
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.search.api import resolve_missing
    from comfywatchman.readiness.search_step import expire_answers

    installation = session.require_installation("to check workflows against")
    paths = workflows or tuple(root.path for root in session.roots(installation))
    dry_run = scan_files(
        paths,
        installation=installation,
        settings=session.settings,
        layout=session.layout,
        is_sample=session.is_sample,
    )
    missing = []
    for workflow in dry_run.workflows:
        wanted = workflow.verdict.missing_models
        if models is not None:
            wanted = tuple(model for model in wanted if (model.folder, model.name) in models)
        missing += [(workflow.facts, model) for model in wanted]
    with (
        closing(open_database(session.layout.database)) as database,
        _show_progress(session, quiet=options.as_json) as progress,
    ):
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
    from comfywatchman.readiness.search.budget import PATIENCE_SECONDS, SearchBudget
    from comfywatchman.sources.llm.detection import apply_detection, detect_language_model

    folders, _blockers = resolve_folders(installation)
    settings = session.settings
    if settings.llm.driver == "auto":
        detected = detect_language_model(settings.llm, Path.home())
        settings = msgspec.structs.replace(settings, llm=apply_detection(settings.llm, detected))

    def list_local_models() -> dict[str, str]:
        return {sha256: file.path for sha256, file in find_local_models(session.layout.database, folders).items()}

    return SearchRequest(
        settings=settings,
        layout=session.layout,
        root=installation.root,
        custom_nodes=folders.custom_nodes,
        clock=session.clock,
        database=database,
        budget=SearchBudget(session.clock, patience_seconds=PATIENCE_SECONDS),
        list_local_models=list_local_models,
        backends=options.backends,
        refresh=options.refresh,
        retry_errors=True,
        progress=progress,
    )


def _problem_text(problem: str | CorruptFile) -> str:
    if isinstance(problem, str):
        return problem
    return describe_corrupt_file(problem)


@contextmanager
def _show_progress(session: Session, *, quiet: bool) -> Iterator[Progress]:
    task = session.task
    if task is not None:
        yield lambda done, total: task.count("Searching for missing models", done, total)
        return
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
    elif result.doubt is not None:
        where = SEARCH_DOUBT_TEXT[result.doubt]
    return result.filename, result.type or "?", result.status.value, format_optional_size(result.size), where


def _print_uncertain(result: SearchResult) -> None:
    from comfywatchman.readiness.search.decisions import candidate_id

    doubt = f", {SEARCH_DOUBT_TEXT[result.doubt]}" if result.doubt is not None else ""
    click.echo(f"\n{printable(result.filename)}: {result.status.value}{doubt}")
    # Without candidates, a site that did not answer is the cause, whatever else was not searched. How many models it
    # concerns is reported once, below all models.
    causes = [] if result.candidates else [describe_unreachable(source) for source in result.unreachable]
    for line in (*causes, *map(describe_absence, result.absence), *result.evidence, *describe_backends(result)):
        click.echo(f"  {printable(line)}")
    for number, candidate in enumerate(result.candidates, 1):
        click.echo(f"  {number}. {printable(candidate_id(candidate))}  {printable(describe_candidate(candidate))}")
        if candidate.details.page:
            click.echo(f"     {printable(candidate.details.page)}")
    if result.has_choice:
        print_step(f"  To choose one: comfywatchman resolve --choose {_quote(result.filename)} NUMBER")


def _quote(name: str) -> str:
    import shlex

    return shlex.quote(printable(name))
