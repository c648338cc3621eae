"""Output for people and programs: tables, JSON, errors, and exit codes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.base.text import escape_unprintable, shorten_list, shorten_text

if TYPE_CHECKING:
    from rich.console import Console

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
SKIPPED: Final = 75
INTERRUPTED: Final = 130

JSON_SCHEMA_VERSION: Final = 1


def create_console() -> Console:
    """Return the console for people; without styles when piped or when NO_COLOR is set."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(**facts: Any) -> None:
    """Print facts as one JSON object with a schema version, keys sorted."""
    content = to_json({"schema_version": JSON_SCHEMA_VERSION, **msgspec.to_builtins(facts)})
    click.echo(content.decode("utf-8", "backslashreplace"), nl=False)


def print_step(text: str, *, err: bool = False) -> None:
    """Print a line; the commands in it get the options of this call."""
    click.echo(_find_completion()(text), err=err)


def _find_completion() -> Callable[[str], str]:
    context = click.get_current_context(silent=True)
    return getattr(context.obj, "complete_commands", str) if context is not None else str


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: str | Sequence[str] = (), spare: Sequence[str] = ()
) -> None:
    """Print a table; when piped, print the cells separated by tabs.

    Args:
        columns: The name of each column.
        rows: The cells of each row.
        whole: One or more columns whose cells are wrapped only where the terminal is too narrow for them, because
            people copy or compare them.
        spare: Columns to leave out when the terminal is too narrow, the first one first. A line below the table names
            them.

    Raises:
        ValueError: `whole` or `spare` names an unknown column.
    """
    unbroken = {whole} if isinstance(whole, str) else set(whole)
    unknown = {*unbroken, *spare} - {*columns}
    if unknown:
        # Checked here, or the mistake would only show on a narrow terminal.
        raise ValueError(f"unknown columns: {unknown}")
    shown = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *shown):
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = create_console()
    indexes = _fit_columns(columns, shown, spare, console.width)
    # Rich crops a cell that may not wrap, and drops the columns for which no space is left.
    is_room = _needed_width(columns, shown, indexes, unbroken) <= console.width
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index in indexes:
        # Fold, not crop: a name or hash that is cut off cannot be copied.
        table.add_column(columns[index], overflow="fold", no_wrap=is_room and columns[index] in unbroken)
    for row in shown:
        # Text, not str: rich would interpret square brackets in names as markup.
        table.add_row(*[Text(row[index], style=_STYLES.get(row[index], "")) for index in indexes])
    console.print(table)
    if left_out := [name for index, name in enumerate(columns) if index not in indexes]:
        note = f"No room for {shorten_list(left_out, most=10)}: widen the terminal, or use --json."
        console.print(Text(note, style="dim"))


def _fit_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int) -> list[int]:
    """Return the indexes of the columns that fit into a width."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
    indexes = list(range(len(columns)))
    for name in spare:
        if sum(widths[index] + _COLUMN_GAP for index in indexes) <= width:
            break
        indexes.remove(columns.index(name))
    return indexes


def _needed_width(
    columns: Sequence[str], rows: Sequence[Sequence[str]], indexes: Sequence[int], unbroken: set[str]
) -> int:
    """Return the width at which the unbroken columns fit and each other column has its name beside them."""
    from rich.cells import cell_len

    width = 0
    for index in indexes:
        cells = [columns[index]]
        if columns[index] in unbroken:
            cells += [row[index] for row in rows]
        width += max(map(cell_len, cells)) + _COLUMN_GAP
    return width


def printable(text: str) -> str:
    """Return text with control characters as escapes, so that a terminal cannot be manipulated by names.

    A text that is longer than any path is cut.
    """
    return escape_unprintable(shorten_text(text))


def print_failure(failure: Failure) -> None:
    """Print on standard error what happened and the next step."""
    failure.change_texts(_find_completion())
    click.echo(f"Error ({failure.code}): {printable(failure.message)}", err=True)
    if failure.hint:
        click.echo(printable(failure.hint), err=True)


def print_error_json(
    code: str, message: str, hint: str | None = None, facts: Mapping[str, object] | None = None
) -> None:
    """Print an error as JSON on standard output, for programs."""
    # The reader may be gone already, which must not hide the error itself.
    with contextlib.suppress(OSError):
        print_json(error={**(facts or {}), "code": code, "message": message, "hint": hint})


def print_crash(error: BaseException) -> None:
    """Print a traceback, and that it is a defect of the program."""
    import traceback

    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"Error: comfywatchman failed unexpectedly ({type(error).__name__}).", err=True)
    click.echo("State files are intact. Please report the lines above; log/structured.log may say more.", err=True)


def result_code(*, success: bool) -> int:
    """Return the exit code of a command that ran to its end."""
    return DONE if success else FAILED


def exit_code(failure: Failure) -> int:
    """Return the exit code for a failure."""
    if failure.code.startswith("config-") or failure.code in _USAGE_CODES:
        return USAGE
    if failure.code == "lock-held":
        return SKIPPED
    return FAILED


_USAGE_CODES: Final = frozenset(
    {
        "gov-node-unknown",
        "workflow-unknown",
        "gov-transaction-unknown",
        "gov-snapshot-unknown",
        "gov-operation-unknown",
        "gov-bad-pin",
        "gov-needs-resolution",
        "jobs-job-unknown",
        "jobs-priority-range",
        "supervisor-environment-unknown",
        "supervisor-incident-unknown",
        "version-lock-invalid",
        "version-lock-missing",
    }
)
"""Something that does not exist was named, a number is out of range, or packages conflict: exit code 2."""

_COLUMN_GAP: Final = 2
"""Spaces between two columns."""

_STYLES: Final = {
    "READY": "green",
    "MISSING": "red",
    "UNCERTAIN": "yellow",
    "INVALID": "magenta",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "unknown": "yellow",
}
