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
from comfywatchman.cli.lacks import list_lacks
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_table, printable, result_code
from comfywatchman.readiness.assessment.dry_run import DryRunResult, scan_files
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MissingInput
from comfywatchman.readiness.verdicts.findings import ModelFinding
from comfywatchman.readiness.verdicts.input_files import describe_missing_inputs
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict, judge_references
from comfywatchman.readiness.workflow_facts import WorkflowFacts

PATH_ARGUMENT = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH_ARGUMENT)
@json_option
@click.pass_context
def scan(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Check workflow files or folders against this host, without writing any state.

    Exits with 1 when a workflow is not READY.
    """
    result = _inspect_workflows(context.obj, paths)
    if as_json:
        workflows = []
        for path, sha256, _facts, verdict, missing_inputs in result.workflows:
            entry = {"path": printable_path(path), "sha256": sha256, **msgspec.to_builtins(verdict)}
            workflows.append({**entry, "missing_inputs": missing_inputs})
        print_json(workflows=workflows, problems=list(result.problems))
    else:
        _print_verdicts(result)
    all_ready = all(workflow.verdict.status is WorkflowStatus.READY for workflow in result.workflows)
    context.exit(result_code(success=bool(result.workflows) and all_ready))


@click.command()
@click.argument("workflow", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def explain(context: click.Context, workflow: Path, as_json: bool) -> None:
    """Show every model reference and node class of one workflow, and why it is or is not ready."""
    result = _inspect_workflows(context.obj, (workflow,))
    if not result.workflows:
        raise Failure(
            "workflow-not-a-workflow",
            f"{printable_path(workflow)} contains no workflow.",
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
        _print_explanation(path, facts, verdict, findings)
        _print_inputs(verdict, missing_inputs)
    context.exit(result_code(success=verdict.status is WorkflowStatus.READY))


def _inspect_workflows(session: Session, paths: tuple[Path, ...]) -> DryRunResult:
    installation = session.require_installation("to check these files against")
    return scan_files(
        paths,
        installation=installation,
        settings=session.settings,
        layout=session.layout,
        environment_checks=environment_checks(session),
        observed_loaders=observed_loaders(session),
        production=production_folder(session),
    )


def _print_verdicts(result: DryRunResult) -> None:
    rows = [_workflow_row(workflow.path, workflow.verdict, workflow.missing_inputs) for workflow in result.workflows]
    if rows:
        print_table(("Workflow", "Status", "Models", "Nodes", "Lacks"), rows)
    else:
        click.echo("No workflow was found there.")
    for problem in result.problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _workflow_row(
    path: str, verdict: WorkflowVerdict, inputs: tuple[MissingInput, ...]
) -> tuple[str, str, str, str, str]:
    # A readable workflow has its problems in the other lists.
    is_invalid = verdict.status is WorkflowStatus.INVALID
    lacks = list_lacks(
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


def _print_explanation(path: str, facts: WorkflowFacts, verdict: WorkflowVerdict, findings: list[ModelFinding]) -> None:
    kind = f"{facts.format or 'unreadable'}, {facts.container}"
    click.echo(f"{printable_path(path)}: {click.style(verdict.status.value, bold=True)} ({kind})")
    for problem in verdict.problems:
        click.echo(f"  {printable(problem.message)}")
    for refused in verdict.refused_inputs:
        where = f"Node {refused.node_path}: {refused.input} of {refused.node_type}"
        click.echo(f"  {where} {printable(refused.problem)}. {printable(refused.fix)}")
    if findings:
        click.echo("\nModels:")
        columns = ("Node", "Class", "Input", "Folder", "Name", "State", "Evidence")
        print_table(columns, [_finding_row(finding) for finding in findings])
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
