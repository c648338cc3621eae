"""`comfywatchman supervise logs`: the output of the supervised ComfyUI."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import JSON_SCHEMA_VERSION, print_json, printable
from comfywatchman.cli.supervise.common import open_workspace, workspace_option
from comfywatchman.supervisor.incidents import read_last_lines
from comfywatchman.supervisor.process.child import LOG_NAME

DEFAULT_LINES: Final = 50
_MAX_LINES: Final = 100_000
_LOOK_SECONDS: Final = 0.5
_BLOCK_BYTES: Final = 1 << 16


@click.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, _MAX_LINES),
    default=DEFAULT_LINES,
    metavar="N",
    help=f"Number of lines, from the end (default: {DEFAULT_LINES}).",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, also after restarts, until Ctrl-C.")
@workspace_option
@json_option
@click.pass_context
def logs(context: click.Context, lines: int, follow: bool, workspace: Path | None, as_json: bool) -> None:
    """Show the last lines of ComfyUI's output.

    With --follow and --json, each line is one JSON object.

    \b
    Examples:
      comfywatchman supervise logs -n 200
      comfywatchman supervise logs --follow
    """
    _session, environments = open_workspace(context, workspace)
    log = environments.metadata / LOG_NAME
    if not follow:
        shown = _decode(read_last_lines(log, count=lines)) if lines else []
        if as_json:
            print_json(log=str(log), lines=shown)
            return
        if not log.is_file():
            raise Failure(
                "file-unreadable",
                f"There is no log yet: {printable_path(log)}.",
                hint="Start ComfyUI: comfywatchman supervise run",
            )
        for line in shown:
            click.echo(_format(line))
        return
    for line in follow_log(log, lines):
        if as_json:
            click.echo(json.dumps({"line": line, "schema_version": JSON_SCHEMA_VERSION}, sort_keys=True))
        else:
            click.echo(_format(line))


def follow_log(log: Path, count: int) -> Iterator[str]:
    """Yield the last lines of a log, then each new one; each start of ComfyUI begins a new file of that name.

    Args:
        log: The log.
        count: Number of old lines.
    """
    position, inode = 0, None
    if log.is_file():
        with log.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            position = file.seek(0, os.SEEK_END)
        yield from _decode(read_last_lines(log, count=count)) if count else ()
    rest = b""
    while True:
        try:
            with log.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != inode or found.st_size < position:
                    position, inode, rest = 0, found.st_ino, b""
                file.seek(position)
                block = file.read(_BLOCK_BYTES)
        except FileNotFoundError:
            block = b""
        position += len(block)
        complete, separator, rest = (rest + block).rpartition(b"\n")
        yield from _decode(complete + separator)
        if not block:
            time.sleep(_LOOK_SECONDS)


def _decode(content: bytes) -> list[str]:
    return [line.decode("utf-8", "replace") for line in content.splitlines()]


def _format(line: str) -> str:
    return printable(line.expandtabs())
