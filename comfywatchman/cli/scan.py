"""`comfywatchman scan` and `comfywatchman explain`: check workflows without writing any state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from comfywatchman.app.environment import environment_checks, observed_loaders, production_folder
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import shorten_list
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, print_table, printable, result_code
from comfywatchman.cli.text.explain_text import format_explanation
from comfywatchman.cli.text.status_text import read_width
from comfywatchman.cli.workflow_names import read_last_report, require_workflow
from comfywatchman.comfyui.install.reachability import describe_remedy
from comfywatchman.readiness.assessment.dry_run import DryRunResult, scan_files
from comfywatchman.readiness.report.explanation import explain_workflow, merge_answers
from comfywatchman.readiness.report.missing_names import list_missing_names
from comfywatchman.readiness.report.step_text import HostFacts
from comfywatchman.readiness.report.unconfirmed import describe_unchecked_choices, describe_unconfirmed_packs
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MissingInput, WorkflowEntry
from comfywatchman.readiness.verdicts.findings import ModelFinding
from comfywatchman.readiness.verdicts.input_files import describe_missing_inputs
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict, judge_references
from comfywatchman.readiness.workflow_facts import WorkflowFacts


@click.command()
@click.argument("workflows", nargs=-1, required=True, metavar="WORKFLOW...", shell_complete=complete_names("workflow"))
@json_option
@click.pass_context
def scan(context: click.Context, workflows: tuple[str, ...], as_json: bool) -> None:
    """Check workflow files or folders against this host, without writing any state.

    WORKFLOW is a path, or a name as `status` prints it.

    Exits with 1 when a workflow is not READY, or a file or folder could not be read.

    \b
    Examples:
      comfywatchman scan workflow.json
      comfywatchman scan ~/Downloads --json
    """
    session: Session = context.obj
    result = _inspect_workflows(session, tuple(require_workflow(session, name) for name in workflows))
    if as_json:
        entries = []
        for path, sha256, _facts, verdict, missing_inputs in result.workflows:
            entry = {"path": printable_path(path), "sha256": sha256, **msgspec.to_builtins(verdict)}
            entries.append({**entry, "missing_inputs": missing_inputs})
        unread = [{"path": place.path, "obstacle": place.obstacle} for place in result.unread]
        print_json(workflows=entries, problems=list(result.problems), unread=unread)
    else:
        _print_verdicts(result)
    all_ready = all(workflow.verdict.status is WorkflowStatus.READY for workflow in result.workflows)
    context.exit(result_code(success=bool(result.workflows) and all_ready and not result.unread))


@click.command()
@click.argument("workflow", shell_complete=complete_names("workflow"))
@json_option
@click.pass_context
def explain(context: click.Context, workflow: str, as_json: bool) -> None:
    """Show why one workflow is or is not ready and what to do, then every model reference and node class.

    WORKFLOW is a path, or a name as `status` prints it.

    \b
    Examples:
      comfywatchman explain portrait.json
      comfywatchman explain official/flux.json --json
    """
    session: Session = context.obj
    workflow_path = require_workflow(session, workflow)
    if workflow_path.is_dir():
        raise Failure("workflow-unknown", f"{workflow} is a folder.", hint="comfywatchman scan checks folders.")
    result = _inspect_workflows(session, (workflow_path,))
    if result.unread:
        place = result.unread[0]
        raise Failure("file-unreadable", f"{place.path} could not be read.", hint=describe_remedy(place.obstacle))
    if not result.workflows:
        raise Failure(
            "workflow-not-a-workflow",
            f"{printable_path(workflow_path)} contains no workflow.",
            hint="; ".join(result.problems) or "Save one from ComfyUI's menu, as a file or within an image.",
        )
    path, sha256, facts, verdict, missing_inputs = result.workflows[0]
    lacking = tuple(node.class_type for node in verdict.missing_nodes)
    findings = judge_references(facts.references, result.host.inventory, lacking, result.host.choices)
    if as_json:
        print_json(
            path=printable_path(path),
            sha256=sha256,
            judged=verdict,
            references=[_finding_json(finding) for finding in findings],
            missing_inputs=missing_inputs,
            classes=facts.classes,
        )
    else:
        _print_answer(session, result, workflow)
        _print_explanation(facts, verdict, findings)
        _print_inputs(verdict, missing_inputs)
    context.exit(result_code(success=verdict.status is WorkflowStatus.READY))


def _inspect_workflows(session: Session, paths: tuple[Path, ...]) -> DryRunResult:
    installation = session.require_installation("to check these files against")
    return scan_files(
        paths,
        installation=installation,
        settings=session.settings,
        layout=session.layout,
        is_sample=session.is_sample,
        environment_checks=environment_checks(session),
        observed_loaders=observed_loaders(session),
        production=production_folder(session),
    )


def _print_verdicts(result: DryRunResult) -> None:
    rows = [_workflow_row(workflow.path, workflow.verdict, workflow.missing_inputs) for workflow in result.workflows]
    unread = WorkflowStatus.UNCERTAIN.value
    rows += [(place.path, unread, "", "", "could not be read") for place in result.unread]
    if rows:
        print_table(("Workflow", "Status", "Models", "Nodes", "Missing"), rows)
    else:
        click.echo("No workflow was found there.")
    ready = [workflow.verdict for workflow in result.workflows if workflow.verdict.status is WorkflowStatus.READY]
    unconfirmed = {pack for verdict in ready for pack in verdict.unconfirmed_packs}
    unchecked = {choice for verdict in ready for choice in verdict.unchecked_choices}
    for doubt in (describe_unconfirmed_packs(unconfirmed), describe_unchecked_choices(unchecked)):
        if doubt:
            click.echo(printable(doubt))
    for place in result.unread:
        click.echo(f"{printable(place.path)}: {printable(describe_remedy(place.obstacle))}")
    for problem in result.problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _workflow_row(
    path: str, verdict: WorkflowVerdict, inputs: tuple[MissingInput, ...]
) -> tuple[str, str, str, str, str]:
    # A readable workflow has its problems in the other lists.
    is_invalid = verdict.status is WorkflowStatus.INVALID
    lacks = list_missing_names(
        nodes=verdict.missing_nodes,
        models=verdict.missing_models,
        problems=[problem.message for problem in verdict.problems] if is_invalid else [],
        refused=verdict.refused_inputs,
        inputs=inputs,
    )
    return (
        printable_path(path),
        verdict.status.value,
        str(len(verdict.missing_models)),
        str(len(verdict.missing_nodes)),
        shorten_list(lacks),
    )


def _print_answer(session: Session, result: DryRunResult, name: str) -> None:
    """Print the first lines: why not, and what to do."""
    path, sha256, facts, verdict, missing_inputs = result.workflows[0]
    shown = printable_path(path)
    report = read_last_report(session)
    reported = next((entry for entry in report.workflows if entry.path == shown), None) if report is not None else None
    entry = merge_answers(_build_entry(shown, sha256, verdict, missing_inputs), reported)
    governed = environment_checks(session) is not None
    host = HostFacts(result.host.comfyui_version, governed)
    active = sum(bool(use.node_paths) for use in facts.classes.values())
    explanation = explain_workflow(entry, active, host)
    lines = format_explanation(printable(name), verdict.status, explanation, read_width(), session.program())
    for line in lines:
        click.echo(line)


def _build_entry(
    path: str, sha256: str, verdict: WorkflowVerdict, missing_inputs: tuple[MissingInput, ...]
) -> WorkflowEntry:
    return WorkflowEntry(
        path=path,
        source="",
        format=verdict.format,
        container=verdict.container,
        sha256=sha256,
        status=verdict.status,
        models=verdict.models,
        missing_models=verdict.missing_models,
        missing_nodes=verdict.missing_nodes,
        inactive_models=verdict.inactive_models,
        uncertain_count=verdict.uncertain_count,
        problems=verdict.problems,
        last_resolved_at=None,
        intake=None,
        missing_inputs=missing_inputs,
        refused_inputs=verdict.refused_inputs,
    )


def _print_explanation(facts: WorkflowFacts, verdict: WorkflowVerdict, findings: list[ModelFinding]) -> None:
    click.echo(f"\nFormat {facts.format or 'unreadable'}, {facts.container}")
    for problem in verdict.problems:
        click.echo(f"  {printable(problem.message)}")
    if verdict.unconfirmed_packs:
        click.echo(f"  {printable(describe_unconfirmed_packs(verdict.unconfirmed_packs))}")
    if verdict.unchecked_choices:
        click.echo(f"  {printable(describe_unchecked_choices(verdict.unchecked_choices))}")
    for refused in verdict.refused_inputs:
        where = f"Node {refused.node_path}: {refused.input} of {refused.node_type}"
        click.echo(f"  {where} {printable(refused.problem)}. {printable(refused.fix)}")
    if findings:
        click.echo("\nModels:")
        columns = ("Node", "Class", "Input", "Folder", "Name", "State", "Evidence")
        print_table(columns, [_finding_row(finding) for finding in findings])
    for model in verdict.missing_models:
        if model.declared_url:
            click.echo(
                f"  {printable(model.name)}: link in the workflow, not verified: {printable(model.declared_url)}"
            )
    for finding in findings:
        if finding.fix:
            click.echo(f"  {printable(finding.reference.value)}: {printable(finding.fix)}")
    _print_classes(facts, verdict)


def _print_classes(facts: WorkflowFacts, verdict: WorkflowVerdict) -> None:
    missing = {node.class_type: node for node in verdict.missing_nodes}
    rows = []
    for name, use in sorted(facts.classes.items()):
        node = missing.get(name)
        next_step = ""
        if node:
            state = node.state.replace("_", " ")
            next_step = node.fix or node.evidence or ""
        elif use.node_paths:
            state = "present"
        else:
            state = "inactive"
        rows.append((name, str(len(use.node_paths)), state, next_step))
    if rows:
        click.echo("\nNode classes:")
        print_table(("Class", "Active nodes", "State", "Next step"), rows)


def _print_inputs(verdict: WorkflowVerdict, missing: tuple[MissingInput, ...]) -> None:
    if not verdict.inputs:
        return
    fixes = {(file.node_path, file.input): file.fix for file in missing}
    rows = []
    for file in verdict.inputs:
        next_step = fixes.get((file.node_path, file.input), "present")
        rows.append((file.node_path, file.node_type, file.input, file.folder, file.name, next_step))
    click.echo("\nYour input files:")
    print_table(("Node", "Class", "Input", "Folder", "Name", "Next step"), rows)
    if missing:
        click.echo(f"  Needs {printable(describe_missing_inputs(missing))}")


def _finding_row(finding: ModelFinding) -> tuple[str, ...]:
    reference = finding.reference
    state = finding.state.value.replace("_", " ")
    if not reference.active:
        state += " (inactive)"
    return (
        reference.node_path,
        reference.node_type,
        reference.input,
        reference.folder or "?",
        reference.value,
        state,
        reference.evidence,
    )


def _finding_json(finding: ModelFinding) -> dict[str, Any]:
    reference: dict[str, Any] = msgspec.to_builtins(finding.reference)
    return {**reference, "state": finding.state.value, "fix": finding.fix, "path": finding.path}
