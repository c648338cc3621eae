"""`comfywatchman scan` and `comfywatchman explain`: looks that leave no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from comfywatchman.app.environment import environment_checks, tried_loaders
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_json, print_table, printable, shorten_list
from comfywatchman.cli.status import missing_model_text
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
    """Judge workflow files or folders of them against this host, without touching any state.

    Exits with 1 when one of them is not READY.
    """
    look = _inspect_workflows(context.obj, paths)
    if as_json:
        print_json(
            workflows=[
                {
                    "path": printable_path(path),
                    "sha256": sha256,
                    **msgspec.to_builtins(judged),
                    "missing_inputs": look.missing_inputs[sha256],
                }
                for path, sha256, _facts, judged in look.workflows
            ],
            problems=list(look.problems),
        )
    else:
        if look.workflows:
            columns = ("Workflow", "Status", "Models", "Nodes", "Lacks")
            print_table(
                columns,
                [
                    _workflow_row(path, judged, look.missing_inputs[sha256])
                    for path, sha256, _facts, judged in look.workflows
                ],
            )
        else:
            click.echo("No workflow was found there.")
        for problem in look.problems:
            click.echo(f"Problem: {printable(problem)}", err=True)
    ready = all(judged.status is WorkflowStatus.READY for _path, _sha256, _facts, judged in look.workflows)
    context.exit(DONE if ready and look.workflows else FAILED)


@click.command()
@click.argument("workflow", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def explain(context: click.Context, workflow: Path, as_json: bool) -> None:
    """Show every model reference and node class of one workflow, the evidence, and why it is or is not ready."""
    look = _inspect_workflows(context.obj, (workflow,))
    if not look.workflows:
        raise Failure(
            "workflow-not-a-workflow",
            f"{printable_path(workflow)} holds no workflow.",
            hint="; ".join(look.problems) or "Save one from ComfyUI's menu, as a file or within a picture.",
        )
    path, sha256, facts, judged = look.workflows[0]
    lacking = tuple(node.class_type for node in judged.missing_nodes)
    findings = judge_references(facts.references, look.host.inventory, lacking, look.host.choices)
    if as_json:
        print_json(
            path=printable_path(path),
            sha256=sha256,
            judged=judged,
            references=[_finding_json(finding) for finding in findings],
            missing_inputs=look.missing_inputs[sha256],
            classes=facts.classes,
        )
    else:
        _print_explanation(path, facts, judged, findings)
        _print_inputs(judged, look.missing_inputs[sha256])
    context.exit(DONE if judged.status is WorkflowStatus.READY else FAILED)


def _inspect_workflows(session: Session, paths: tuple[Path, ...]) -> DryRunResult:
    installation = session.require_installation("to judge these files against")
    return scan_files(
        paths,
        installation=installation,
        settings=session.settings,
        layout=session.layout,
        environment_checks=environment_checks(session),
        tried_loaders=tried_loaders(session),
    )


def _workflow_row(
    path: str, judged: WorkflowVerdict, inputs: tuple[MissingInput, ...]
) -> tuple[str, str, str, str, str]:
    lacks = [
        *(node.class_type for node in judged.missing_nodes),
        *(missing_model_text(model) for model in judged.missing_models),
    ]
    lacks += [problem.message for problem in judged.problems] if judged.status is WorkflowStatus.INVALID else []
    lacks += [f"{one.node_type}: {one.input}" for one in judged.refused_inputs]
    lacks += [one.name for one in inputs if one.required]
    return (
        printable_path(path),
        judged.status.value,
        str(len(judged.missing_models)),
        str(len(judged.missing_nodes)),
        shorten_list(lacks),
    )


def _print_explanation(path: str, facts: WorkflowFacts, judged: WorkflowVerdict, findings: list[ModelFinding]) -> None:
    how = f"{facts.format or 'unreadable'}, {facts.container}"
    click.echo(f"{printable_path(path)}: {click.style(judged.status.value, bold=True)} ({how})")
    for problem in judged.problems:
        click.echo(f"  {printable(problem.message)}")
    for one in judged.refused_inputs:
        gets = "gets nothing" if one.value is None else f"is {one.value!r}"
        click.echo(f"  Node {one.node_path}: {one.input} of {one.node_type} {printable(gets)}. {printable(one.fix)}")
    if findings:
        click.echo("\nModels:")
        columns = ("Node", "Class", "Input", "Folder", "Name", "State", "Evidence")
        print_table(columns, [_finding_row(finding) for finding in findings])
    for finding in findings:
        if finding.fix:
            click.echo(f"  {printable(finding.reference.value)}: {printable(finding.fix)}")
    bad = {node.class_type: node for node in judged.missing_nodes}
    rows = []
    for name, use in sorted(facts.classes.items()):
        node = bad.get(name)
        state = node.state.replace("_", " ") if node else "present" if use.node_paths else "inactive"
        rows.append((name, str(len(use.node_paths)), state, (node.fix or node.evidence or "") if node else ""))
    if rows:
        click.echo("\nNode classes:")
        print_table(("Class", "Active nodes", "State", "What to do"), rows)


def _print_inputs(judged: WorkflowVerdict, missing: tuple[MissingInput, ...]) -> None:
    if not judged.inputs:
        return
    lacking = {(one.node_path, one.input): one for one in missing}
    rows = []
    for one in judged.inputs:
        found = lacking.get((one.node_path, one.input))
        rows.append((one.node_path, one.node_type, one.input, one.folder, one.name, found.fix if found else "present"))
    click.echo("\nFiles of yours:")
    print_table(("Node", "Class", "Input", "Folder", "Name", "What to do"), rows)
    if missing:
        click.echo(f"  Needs {printable(describe_missing_inputs(missing))}")


def _finding_row(finding: ModelFinding) -> tuple[str, ...]:
    one = finding.reference
    state = finding.state.value.replace("_", " ") + ("" if one.active else " (inactive)")
    return one.node_path, one.node_type, one.input, one.folder or "?", one.value, state, one.evidence


def _finding_json(finding: ModelFinding) -> dict[str, Any]:
    reference: dict[str, Any] = msgspec.to_builtins(finding.reference)
    return {**reference, "state": finding.state.value, "fix": finding.fix, "path": finding.path}
