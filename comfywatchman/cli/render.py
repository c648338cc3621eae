"""What people and programs see: one console, one JSON form, one way to say that something failed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json

if TYPE_CHECKING:
    from rich.console import Console

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
SKIPPED: Final = 75
INTERRUPTED: Final = 130

JSON_SCHEMA_VERSION: Final = 1


def create_console() -> Console:
    """Return the console for people; plain when piped or when NO_COLOR is set."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(**facts: Any) -> None:
    """Print facts as one JSON object with a schema version, keys sorted."""
    content = to_json({"schema_version": JSON_SCHEMA_VERSION, **msgspec.to_builtins(facts)})
    click.echo(content.decode("utf-8", "backslashreplace"), nl=False)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: str = "", spare: Sequence[str] = ()
) -> None:
    """Print a table; piped, the same cells separated by tabs, without a frame.

    Args:
        columns: The name of each column.
        rows: The cells of each row.
        whole: A column whose cells a person copies: they stay on one line.
        spare: Columns that a terminal too narrow for all of them goes without, the first one first.
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *shown):
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = create_console()
    kept = _fit_columns(columns, shown, spare, out.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for at in kept:  # a name or hash that is cut off cannot be copied
        table.add_column(columns[at], overflow="fold", no_wrap=columns[at] == whole)
    for row in shown:
        table.add_row(*(Text(row[at], style=_STYLES.get(row[at], "")) for at in kept))
    out.print(table)


def _fit_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int) -> list[int]:
    """Return the places of the columns to show within so many characters."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    kept = list(range(len(columns)))
    for name in spare:
        if sum(widths[at] + _COLUMN_GAP for at in kept) <= width:
            break
        kept.remove(columns.index(name))
    return kept


def printable(text: str) -> str:
    """Return text without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def shorten_list(names: Sequence[str], *, most: int = 2) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def print_failure(failure: Failure) -> None:
    """Say on standard error what happened and what to do next."""
    click.echo(f"Error ({failure.code}): {printable(failure.message)}", err=True)
    if failure.hint:
        click.echo(printable(failure.hint), err=True)


def print_error_json(code: str, message: str, hint: str | None = None) -> None:
    """Print on standard output, for programs, what standard error says to people; nobody may be reading any more."""
    with contextlib.suppress(OSError):
        print_json(error={"code": code, "message": message, "hint": hint})


def print_unexpected(error: BaseException) -> None:
    """Say that the program itself broke, and where; the traceback follows for whoever repairs it."""
    import traceback

    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"Error: comfywatchman broke ({type(error).__name__}).", err=True)
    click.echo("State files are whole. Please report the lines above; log/structured.log may say more.", err=True)


def exit_code(failure: Failure) -> int:
    """Return the exit code that belongs to a failure."""
    if failure.code.startswith("config-") or failure.code in _USAGE_CODES:
        return USAGE
    return SKIPPED if failure.code == "lock-held" else FAILED


_USAGE_CODES: Final = frozenset(
    {
        "gov-node-unknown",
        "gov-transaction-unknown",
        "gov-snapshot-unknown",
        "gov-operation-unknown",
        "gov-needs-resolution",
    }
)
"""What was named is not there, or packages clash: scripts of the first `gov` tell these by the code 2."""

_COLUMN_GAP: Final = 2
"""What stands between two columns."""

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
