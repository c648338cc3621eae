"""`comfywatchman doctor`: check the configuration, ComfyUI, the watch and the network, each with what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import click

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.session import Session
from comfywatchman.base.text import pluralize
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, printable, result_code
from comfywatchman.cli.text.status_text import read_width
from comfywatchman.cli.text.wrapping import measure_width, wrap_text

_COLOURS: Final = {CheckState.FAIL: "red", CheckState.WARN: "yellow", CheckState.SKIP: "yellow", CheckState.OK: "green"}
_STATE_WIDTH: Final = 6


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the configuration, ComfyUI, the watch and the network, each with what to do.

    Exits with 1 when a check failed.

    \b
    Examples:
      comfywatchman doctor
      comfywatchman doctor --json
    """
    from comfywatchman.app.doctor.registry import run_checks

    session: Session = context.obj
    checks = run_checks(session)
    if as_json:
        print_json(checks=[{**_to_json(check)} for check in checks])
    else:
        for line in format_checks(checks, read_width()):
            click.echo(line)
    context.exit(result_code(success=all(check.state is not CheckState.FAIL for check in checks)))


def _to_json(check: DoctorCheck) -> dict[str, str]:
    return {
        "name": check.name,
        "state": check.state.value,
        "finding": check.finding,
        "next_step": check.next_step,
    }


def format_checks(checks: Sequence[DoctorCheck], width: int) -> list[str]:
    """Return the checks as lines: a count, those that need something first, and the others by name."""
    bad = [check for check in checks if check.state is not CheckState.OK]
    bad.sort(key=lambda check: list(CheckState).index(check.state))
    good = [check for check in checks if check.state is CheckState.OK]
    column = max((measure_width(check.name) for check in checks), default=0) + 2
    lines = [click.style(_count(checks), bold=True), ""]
    for check in bad or good:
        lines += _format_check(check, column, width)
    if bad and good:
        names = ", ".join(dict.fromkeys(check.name for check in good))
        lines += ["", *_format_row(CheckState.OK, names, width)]
    return lines


def _count(checks: Sequence[DoctorCheck]) -> str:
    counts = {state: sum(check.state is state for check in checks) for state in CheckState}
    if not counts[CheckState.FAIL] + counts[CheckState.WARN] + counts[CheckState.SKIP]:
        return f"All {len(checks)} checks ok. Nothing to do."
    parts = [
        pluralize(counts[CheckState.FAIL], "problem") if counts[CheckState.FAIL] else "",
        pluralize(counts[CheckState.WARN], "warning") if counts[CheckState.WARN] else "",
        f"{counts[CheckState.SKIP]} skipped" if counts[CheckState.SKIP] else "",
        f"{counts[CheckState.OK]} ok",
    ]
    return f"{', '.join(filter(None, parts))}. Start at the top."


def _format_check(check: DoctorCheck, column: int, width: int) -> list[str]:
    name = check.name + " " * (column - measure_width(check.name))
    indent = " " * (_STATE_WIDTH + column)
    lines = _wrap_cell(printable(check.finding), indent, width)
    first = f" {click.style(f'{check.state.value:<4}', fg=_COLOURS[check.state])} {name}"
    lines[0] = first + lines[0].removeprefix(indent)
    if check.next_step:
        lines += [click.style(line, fg="cyan") for line in _wrap_cell(printable(check.next_step), indent, width)]
    return lines


def _format_row(state: CheckState, text: str, width: int) -> Iterable[str]:
    indent = " " * _STATE_WIDTH
    lines = _wrap_cell(text, indent, width)
    lines[0] = f" {click.style(f'{state.value:<4}', fg=_COLOURS[state])} {lines[0].removeprefix(indent)}"
    return lines


def _wrap_cell(text: str, indent: str, width: int) -> list[str]:
    return wrap_text(text, width, indent=indent, hanging="")
