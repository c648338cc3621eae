"""`comfywatchman status`."""

from __future__ import annotations

from collections.abc import Mapping

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.clock import parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, printable_path
from comfywatchman.base.text import format_size, pluralize, shorten_list
from comfywatchman.cli.lacks import list_lacks
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_table, printable, result_code
from comfywatchman.readiness.report.action_builders import Action, plan_command
from comfywatchman.readiness.report.actions import list_actions
from comfywatchman.readiness.report.render import describe_environment, headline, shorten_paths
from comfywatchman.readiness.report.write import read_report
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, PlanSummary, WorkflowEntry
from comfywatchman.readiness.verdicts.compose import COMFYUI_EXITS, ENVIRONMENT_FAILED
from comfywatchman.readiness.verdicts.input_files import describe_missing_inputs

SHOWN_WORKFLOWS = 20
SHOWN_ACTIONS = 10
SHOWN_INPUTS = 3


@click.command()
@json_option
@click.option("--all", "show_all", is_flag=True, help="Show all workflows, not only those that lack something.")
@click.pass_context
def status(context: click.Context, as_json: bool, show_all: bool) -> None:
    """Show the last report: which workflows run, and what to do for the others.

    Exits with 1 when there is no report, or when it is out of date because the scheduler has stopped.
    """
    session: Session = context.obj
    report = read_report(session.layout, only_look=True)
    if not isinstance(report, MasterStatus):
        raise _no_report_failure(session, report)
    stale = session.clock.now() > parse_utc(report.valid_until)
    if as_json:
        print_json(stale=stale, report=msgspec.to_builtins(report))
    else:
        print_report(report, show_all=show_all)
        click.echo(f"Full report: {session.layout.status_markdown}")
        print_plan(report.plan)
        if stale:
            click.echo(f"This report is out of date since {report.valid_until}.", err=True)
            click.echo(f"Run: {session.format_command('--run-cycle')}", err=True)
    context.exit(result_code(success=not stale))


def print_report(report: MasterStatus, *, show_all: bool = False) -> None:
    """Print a report: the headline, workflows that lack something, actions, environment, problems."""
    title = click.style(headline(report), bold=True)
    if report.host.sample:
        title += " (the sample host)"
    click.echo(title)
    if report.cycle.skipped_reason:
        click.echo(f"The last cycle was skipped ({report.cycle.skipped_reason}): {report.cycle.message or ''}")
    entries = [entry for entry in report.workflows if show_all or entry.status.value != "READY"]
    names = shorten_paths(entry.path for entry in report.workflows)
    if entries:
        columns = ("Workflow", "Status", "Models", "Nodes", "Lacks")
        print_table(columns, [_entry_row(entry, names[entry.path]) for entry in entries[:SHOWN_WORKFLOWS]])
    if len(entries) > SHOWN_WORKFLOWS:
        click.echo(f"… and {len(entries) - SHOWN_WORKFLOWS} more.")
    print_actions(list_actions(report.workflows, report.plan, report.environment, report.start_problems))
    if report.environment.state not in {"ok", "not governed"}:
        click.echo(f"Environment: {printable(describe_environment(report.environment))}")
    ready = [entry for entry in report.workflows if entry.status is WorkflowStatus.READY]
    _print_missing_inputs([entry for entry in ready if entry.missing_inputs], names)
    for problem in report.problems[:SHOWN_ACTIONS]:
        click.echo(f"Problem: {printable(problem)}", err=True)


def print_actions(todo: tuple[Action, ...]) -> None:
    """Print actions, the one that helps most workflows first."""
    if todo:
        click.echo("\nWhat to do:")
    for number, action in enumerate(todo[:SHOWN_ACTIONS], start=1):
        click.echo(f"{number:3}. {printable(action.what)}: {printable(action.instruction)}")
        reason = printable(action.because)
        if action.workflows:
            reason += f"; needed by {pluralize(len(action.workflows), 'workflow')}"
        click.echo(f"     {reason}")
    if len(todo) > SHOWN_ACTIONS:
        click.echo(f"     … and {len(todo) - SHOWN_ACTIONS} more in the report.")


def print_plan(plan: PlanSummary | None) -> None:
    """Print the download plan and the command that runs it, if there is a plan."""
    if plan is None:
        return
    click.echo(f"Plan:   {plan.file.removesuffix('.json')}.md")
    if plan.fetched:
        files = pluralize(plan.downloads, "file")
        click.echo(f"{plan.fetched} of {files} fetched; the next cycle judges them.")
    elif plan.downloads:
        files = pluralize(plan.downloads, "file")
        if plan.total_bytes:
            files += f" ({format_size(plan.total_bytes)} as far as sizes are known)"
        click.echo(f"To fetch {files}: {plan_command(plan)}")
    if plan.blocked:
        click.echo(f"Found, but not to be fetched as things stand: {len(plan.blocked)}")
    if plan.to_choose:
        models = "1 model is" if plan.to_choose == 1 else f"{plan.to_choose} models are"
        click.echo(f"{models} uncertain and need your eye: comfywatchman resolve --all shows the candidates")


def _print_missing_inputs(needing: list[WorkflowEntry], names: Mapping[str, str]) -> None:
    for entry in needing[:SHOWN_INPUTS]:
        click.echo(
            f"{printable(names[entry.path])} is ready, but needs "
            f"{printable(describe_missing_inputs(entry.missing_inputs))}"
        )
    if len(needing) > SHOWN_INPUTS:
        count = len(needing) - SHOWN_INPUTS
        click.echo(f"… and {count} more that are ready need pictures or other files of yours; see the report.")


def _entry_row(entry: WorkflowEntry, name: str) -> tuple[str, str, str, str, str]:
    # An entry without a format could not be read; otherwise its problems are in the other lists.
    unreadable = [problem.message for problem in entry.problems] if entry.format is None else []
    lacks = list_lacks(
        nodes=entry.missing_nodes,
        models=entry.missing_models,
        problems=unreadable,
        refused=entry.refused_inputs,
        inputs=entry.missing_inputs,
    )
    lacks += ["a ComfyUI that starts" for problem in entry.problems if problem.code == COMFYUI_EXITS]
    lacks += ["a sound Python environment" for problem in entry.problems if problem.code == ENVIRONMENT_FAILED]
    return name, entry.status.value, str(len(entry.missing_models)), str(len(entry.missing_nodes)), shorten_list(lacks)


def _no_report_failure(session: Session, report: CorruptFile | None) -> Failure:
    path = session.layout.status_json
    if isinstance(report, CorruptFile):
        reason = f"The report {printable_path(path)} cannot be read: {report.reason}."
    else:
        reason = f"There is no report yet in {printable_path(path.parent)}."
    return Failure("report-unavailable", reason, hint=f"Run: {session.format_command('--run-cycle')}")
