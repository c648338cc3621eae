"""Shared by all gov commands: opening the governed root, progress on a terminal, and the JSON envelope."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import os_error_text
from comfywatchman.cli.render import exit_code, print_failure, print_json, printable

if TYPE_CHECKING:
    from comfywatchman.governance.environments.context import GovContext

ProgressCallback = Callable[[str], None]


class GovCommand(click.Command):
    """A gov command; with `--json`, failures are printed in the same envelope as results."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print a failure and exit with its code."""
        try:
            return self._invoke_command(ctx)
        except Failure as failure:
            print_failure(failure)
            if ctx.params.get("as_json"):
                error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
                print_json(command=command_name(ctx), error=error)
            ctx.exit(exit_code(failure))

    def _invoke_command(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            # Without a file it is not about the root, such as a closed standard output.
            if error.filename is None:
                raise
            path = printable_path(os.fsdecode(error.filename))
            raise Failure(
                "file-unreadable",
                f"{path} cannot be read or written: {os_error_text(error)}.",
                hint="Check the permissions (ls -l) of the governed root and of ComfyUI; no change is half done.",
            ) from error


def print_result(context: click.Context, result: Any) -> None:
    """Print a result as JSON, in the envelope that all gov commands share."""
    print_json(command=command_name(context), result=result)


def command_name(context: click.Context) -> str:
    """Return the name of the command without its program: `tx promote`."""
    names: list[str] = []
    current: click.Context | None = context
    while current is not None and current.command.name not in {None, "gov", "main"}:
        names.insert(0, str(current.command.name))
        current = current.parent
    return " ".join(names)


@contextmanager
def open_gov(
    session: Session, command: str, *, is_new: bool = False, activity: str = ""
) -> Iterator[tuple[GovContext, ProgressCallback]]:
    """Hold the lock of the governed root while the block runs, and show its progress on a terminal.

    Args:
        session: The session.
        command: The command, shown to other commands that wait for the lock.
        is_new: Whether the root may be new.
        activity: The first progress text; the command when empty.

    Yields:
        The context, and a function that shows a progress text.

    Raises:
        Failure: As `governance.environments.access.open_context`.
    """
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.environments.access import open_context

    with (
        show_progress(session, activity or command) as progress,
        open_context(
            session.governed_root,
            comfyui=session.find_comfyui_folder(),
            command=f"gov {command}",
            clock=session.clock,
            network=network_variables(),
            is_new=is_new,
            on_wait=_print_waiting,
            progress=progress,
        ) as gov,
    ):
        _print_notes(session, gov)
        yield gov, progress


def read_gov(session: Session) -> GovContext:
    """Return the governed root for a command that only reads.

    Raises:
        Failure: As `governance.environments.access.read_context`.
    """
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.environments.access import read_context

    with show_progress(session, "Reading"):
        gov = read_context(
            session.governed_root,
            comfyui=session.find_comfyui_folder(),
            clock=session.clock,
            network=network_variables(),
        )
    _print_notes(session, gov)
    return gov


def _print_waiting(holder: str) -> None:
    click.echo(printable(f"Waiting for {holder} …"), err=True)


def _print_notes(session: Session, gov: GovContext) -> None:
    if gov.note:
        click.echo(printable(gov.note), err=True)
    named = session.comfyui_option
    if named is not None and named.expanduser().resolve() != gov.comfyui.resolve():
        click.echo(
            f"--comfyui is ignored: this root governs {printable(str(gov.comfyui))} (comfyui_dir in its "
            "config.toml). To govern another ComfyUI, give it its own root: gov --root FOLDER.",
            err=True,
        )


@contextmanager
def show_progress(session: Session, activity: str) -> Iterator[ProgressCallback]:
    """Show a spinner with a text on a terminal; elsewhere nothing.

    Args:
        session: The session.
        activity: The first text.

    Yields:
        A function that replaces the text.
    """
    session.log.debug("gov called", extra={"activity": activity})
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console
    from rich.text import Text

    # Text objects: a name in square brackets would otherwise count as markup.
    with Console(stderr=True, highlight=False).status(Text(activity)) as status:
        yield lambda text: status.update(Text(printable(text)))
