"""The first lines of `comfywatchman explain`: why not, and what to do."""

from __future__ import annotations

import click

from comfywatchman.cli.render import printable
from comfywatchman.cli.text.status_text import complete_command
from comfywatchman.cli.text.wrapping import wrap_command, wrap_path, wrap_text
from comfywatchman.readiness.report.explanation import Explanation
from comfywatchman.readiness.report.step_text import StepPart
from comfywatchman.readiness.states import WorkflowStatus

_COLOURS = {
    WorkflowStatus.READY: "green",
    WorkflowStatus.MISSING: "red",
    WorkflowStatus.UNCERTAIN: "yellow",
    WorkflowStatus.INVALID: "magenta",
}


def format_explanation(
    name: str, status: WorkflowStatus, explanation: Explanation, width: int, program: tuple[str, ...]
) -> list[str]:
    """Return the state and name, what is wrong, and the commands.

    Args:
        name: Name of the workflow, printable.
        status: Its state.
        explanation: The answer.
        width: Columns of the terminal.
        program: The arguments that start this program with the options of this call.
    """
    lines = [f"{click.style(status.value, fg=_COLOURS[status], bold=True)}  {name}"]
    lines += wrap_text(printable(explanation.problem), width, hanging="")
    if explanation.lead and (explanation.parts or explanation.fixes):
        lines.append(explanation.lead)
    for part in explanation.parts:
        lines += _format_part(part, width, program)
    for fix in explanation.fixes:
        lines += wrap_text(printable(fix), width, indent="  ", hanging="")
    return lines


def _format_part(part: StepPart, width: int, program: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    if part.command:
        command = complete_command(part.command, program)
        lines += [click.style(line, fg="cyan") for line in wrap_command(command, width, indent="  ")]
    title = part.title if not part.size else f"{part.title}, {part.size}"
    if part.note:
        title += f" ({part.note})"
    lines += wrap_text(printable(title), width, indent="  ", hanging="  ")
    if part.page:
        lines.append(f"  {click.style(part.page, fg='cyan')}")
    for path in part.paths:
        lines += wrap_path(printable(path), width, indent="  to ")
    return lines
