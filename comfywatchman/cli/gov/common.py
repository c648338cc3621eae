"""What every command of `gov` shares: the governed root, what is going on, and one form of answers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import os_error_text
from comfywatchman.cli.render import exit_code, print_failure, print_json, printable

if TYPE_CHECKING:
    from comfywatchman.governance.environments.context import GovContext

_LOGGER_NAME: Final = "comfywatchman.governance"
ProgressCallback = Callable[[str], None]
_WAITING: Final = "waiting for another command"


class GovCommand(click.Command):
    """A command of `gov`: with `--json`, a failure is an answer in the same envelope as any other."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a failure becomes words on standard error, an envelope on standard output, and an exit code."""
        try:
            return self._invoked(ctx)
        except Failure as failure:
            print_failure(failure)
            if ctx.params.get("as_json"):
                error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
                print_json(command=command_name(ctx), error=error)
            ctx.exit(exit_code(failure))

    def _invoked(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None:
                raise
            place = printable_path(os.fsdecode(error.filename))
            raise Failure(
                "file-unreadable",
                f"{place} cannot be read or written: {os_error_text(error)}.",
                hint="See the permissions (ls -l) of the governed root and of ComfyUI; nothing was half done.",
            ) from error


def print_result(context: click.Context, result: Any) -> None:
    """Print a result as JSON, in the envelope that every command of `gov` shares."""
    print_json(command=command_name(context), result=result)


def command_name(context: click.Context) -> str:
    """Return what was called: `tx promote`."""
    names: list[str] = []
    at: click.Context | None = context
    while at is not None and at.command.name not in {None, "gov", "main"}:
        names.insert(0, str(at.command.name))
        at = at.parent
    return " ".join(names)


@contextmanager
def open_gov(
    session: Session, command: str, *, is_new: bool = False, words: str = ""
) -> Iterator[tuple[GovContext, ProgressCallback]]:
    """Hold the governed root while the block runs, and show a person what is going on meanwhile.

    Args:
        session: The session.
        command: What is done, for people who wait for the lock.
        is_new: Whether the root may be a new one.
        words: What is going on, shown on a terminal; the log's phrases replace it.

    Yields:
        The ground, and what shows a line about what is going on.

    Raises:
        Failure: As `governance.ground.open_ground`.
    """
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.environments.access import open_context

    with (
        show_progress(session, words or command) as tell,
        open_context(
            session.governed_root,
            comfyui=session.find_comfyui_folder(),
            command=f"gov {command}",
            clock=session.clock,
            network=network_variables(),
            is_new=is_new,
        ) as ground,
    ):
        _print_notes(session, ground)
        yield ground, tell


def read_gov(session: Session) -> GovContext:
    """Return the governed root for a command that only reads.

    Raises:
        Failure: As `governance.ground.look`.
    """
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.environments.access import read_context

    with show_progress(session, "Looking"):
        ground = read_context(
            session.governed_root,
            comfyui=session.find_comfyui_folder(),
            clock=session.clock,
            network=network_variables(),
        )
    _print_notes(session, ground)
    return ground


def _print_notes(session: Session, ground: GovContext) -> None:
    if ground.note:
        click.echo(printable(ground.note), err=True)
    named = session.comfyui_option
    if named is not None and named.expanduser().resolve() != ground.comfyui.resolve():
        click.echo(
            f"--comfyui is not used: this root governs {printable(str(ground.comfyui))} (comfyui_dir in its "
            "config.toml). To govern another ComfyUI, give it a root of its own: gov --root FOLDER.",
            err=True,
        )


@contextmanager
def show_progress(session: Session, words: str) -> Iterator[ProgressCallback]:
    """Show on a terminal what is going on; elsewhere only that somebody else is waited for."""
    session.log.debug("gov called", extra={"words": words})
    if not sys.stderr.isatty():
        with _listen_to_log(_ProgressHandler(lambda _text: None)):
            yield lambda _text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, highlight=False).status(Text(words)) as status:

        def tell(text: str) -> None:
            status.update(Text(printable(text)))

        with _listen_to_log(_ProgressHandler(tell)):
            yield tell


@contextmanager
def _listen_to_log(teller: logging.Handler) -> Iterator[None]:
    log = logging.getLogger(_LOGGER_NAME)
    log.addHandler(teller)
    try:
        yield
    finally:
        log.removeHandler(teller)


class _ProgressHandler(logging.Handler):
    """Turns the phrases that governance logs into words for whoever waits."""

    def __init__(self, tell: ProgressCallback) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a phrase; that another command is waited for stays on the screen."""
        phrase, facts = record.getMessage(), vars(record)
        if phrase == _WAITING:
            click.echo(printable(f"Waiting for {facts.get('holder', 'another command')} …"), err=True)
        what = facts.get("what")
        self._tell(f"{phrase[:1].upper()}{phrase[1:]}{f': {what}' if what else ''}")
