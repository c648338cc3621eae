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
from comfywatchman.cli.lazy import complete_failure
from comfywatchman.cli.render import exit_code, print_failure, print_json, printable
from comfywatchman.cli.task_option import find_reporter

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
            complete_failure(failure, ctx)
            if reporter := find_reporter(ctx):
                reporter.fail(failure.code, failure.message, failure.hint)
            print_failure(failure)
            if ctx.params.get("as_json"):
                error = {**failure.facts, "code": failure.code, "message": failure.message, "hint": failure.hint}
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

    _require_named_comfyui(session, is_new=is_new)
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

    _require_named_comfyui(session)
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


def _require_named_comfyui(session: Session, *, is_new: bool = False) -> None:
    """Refuse `--comfyui` of another ComfyUI than the governed one; `gov init` refuses the configured one as well.

    Raises:
        Failure: `gov-other-comfyui`, or a `config-…` code.
    """
    from comfywatchman.governance.store.governed import find_governed_comfyui, require_governed
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.store.settings import read_settings

    named = session.find_comfyui_folder()
    if named is None or (session.comfyui_option is None and not is_new):
        return
    layout = GovLayout(session.governed_root)
    settings = read_settings(layout.config)
    # With comfyui_dir, the root names its ComfyUI, so that the configuration need not.
    if session.comfyui_option is not None or not settings.paths.comfyui_dir:
        require_governed(layout.root, find_governed_comfyui(layout, settings, named), named)


def _print_notes(session: Session, gov: GovContext) -> None:
    from comfywatchman.comfyui.install.identity import identify_comfyui

    if gov.note:
        click.echo(printable(gov.note), err=True)
    configured = session.find_comfyui_folder()
    # With --root, the user has named the environment, and with it the ComfyUI.
    if configured is None or session.governed_option is not None:
        return
    if not identify_comfyui(configured).is_same(identify_comfyui(gov.comfyui)):
        root, governed = printable_path(gov.layout.root), printable_path(gov.comfyui)
        other = printable_path(configured)
        click.echo(f"The root {root} governs {governed}, not the configured ComfyUI in {other}.", err=True)


@contextmanager
def show_progress(session: Session, activity: str) -> Iterator[ProgressCallback]:
    """Show a spinner, a text and the elapsed time on a terminal, record the text in a task, do nothing elsewhere.

    Args:
        session: The session.
        activity: The first text.

    Yields:
        A function that replaces the text.
    """
    session.log.debug("gov called", extra={"activity": activity})
    if session.task is not None:
        session.task.show(activity)
        yield session.task.show
        return
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # A name in square brackets would otherwise count as markup.
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        line = progress.add_task(activity, total=None)
        yield lambda text: progress.update(line, description=printable(text))
