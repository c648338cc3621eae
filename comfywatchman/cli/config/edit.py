"""`comfywatchman config edit`: a configuration file in the user's editor, checked before it is saved."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Final

import click

from comfywatchman.app.config_file import read_config, write_config
from comfywatchman.app.session import Session
from comfywatchman.base.config import user_config_file
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.cli.render import print_failure, printable

TERMINAL_EDITORS: Final = frozenset(
    [
        "ed",
        "ex",
        "vi",
        "view",
        "vim",
        "nvim",
        "vim.basic",
        "vim.tiny",
        "vimtutor",
        "nano",
        "pico",
        "joe",
        "jed",
        "jmacs",
        "jstar",
        "ne",
        "mcedit",
        "micro",
        "helix",
        "hx",
        "kak",
        "emacs-nox",
        "mg",
        "dte",
        "tilde",
        "editor",
        "sensible-editor",
        "sudoedit",
    ]
)
"""Editors that draw into a terminal: without one they wait for keys that nobody can type."""

_WRAPPERS: Final = frozenset(["env", "sudo"])
_WRAPPER_OPTIONS_WITH_VALUE: Final = frozenset(["-u", "-g", "-C"])
_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*=")
_EMACS: Final = frozenset(["emacs", "emacsclient"])
_EMACS_TERMINAL_OPTIONS: Final = frozenset(["-nw", "--no-window-system", "-t", "--tty"])


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--editor",
    envvar=["VISUAL", "EDITOR"],
    metavar="COMMAND",
    help="The editor, which returns when the file is closed (default: VISUAL, EDITOR, or the one of this system).",
)
@click.pass_obj
def edit(session: Session, file: Path | None, editor: str | None) -> None:
    """Open FILE, else ~/.config/comfywatchman/config.toml, in your editor; save it when it is valid.

    With a mistake in it the file stays as it was, and your text is kept beside it.

    \b
    Examples:
      comfywatchman config edit
      comfywatchman config edit --editor nano ./config.toml
    """
    _require_usable_editor(session, editor)
    path = file or session.config_option or user_config_file()
    rejected = path.with_name(f"{path.name}.rejected")
    before = text = read_config(path)
    question = f"Go on with the text that was rejected before ({printable(rejected.name)})?"
    if rejected.exists() and sys.stdin.isatty() and click.confirm(question, default=True):
        text = read_config(rejected)
    while True:
        text = _open_editor(session, text, editor)
        if text == before:
            click.echo(f"Nothing changed in {printable(str(path))}.")
            return
        try:
            write_config(path, text)
        except Failure as failure:
            if not (sys.stdin.isatty() and _wants_to_correct(failure)):
                raise _keep_text(path, rejected, text, failure) from failure
        else:
            rejected.unlink(missing_ok=True)
            click.echo(f"Saved {printable(str(path))}.")
            return


def _require_usable_editor(session: Session, editor: str | None) -> None:
    """Refuse an editor that would wait forever: one that needs a terminal where there is none.

    Raises:
        Failure: `config-unreadable`.
    """
    if sys.stdin.isatty() and sys.stdout.isatty():
        return
    # Without a name, click starts vim, nano or vi.
    if editor is not None and not _needs_terminal(editor):
        return
    shown = "No editor is named" if editor is None else f"The editor {printable(editor)} needs a terminal"
    raise Failure(
        "config-unreadable",
        f"{shown}, and this is not a terminal.",
        hint=f"Set one key: {session.format_command('config', 'set')} SECTION.KEY VALUE. "
        "Or name an editor with a window of its own: --editor 'code --wait'.",
    )


def _needs_terminal(editor: str) -> bool:
    try:
        words = shlex.split(editor)
    except ValueError:
        words = editor.split()
    name, options = _skip_wrappers(words)
    # With `sudo -e`, sudo chooses the editor.
    if name == "sudo" or name in TERMINAL_EDITORS:
        return True
    return name in _EMACS and not _EMACS_TERMINAL_OPTIONS.isdisjoint(options)


def _skip_wrappers(words: list[str]) -> tuple[str, list[str]]:
    """Return the name of the program that a command runs in the end, and its options."""
    name, rest = "", list(words)
    is_wrapped = True
    while rest and is_wrapped:
        word = rest.pop(0)
        if _VARIABLE.match(word):
            continue
        if name in _WRAPPERS and word.startswith("-"):
            if word in _WRAPPER_OPTIONS_WITH_VALUE:
                del rest[:1]
            continue
        name = os.path.basename(word)
        is_wrapped = name in _WRAPPERS
    return name, rest


def _open_editor(session: Session, text: str, editor: str | None) -> str:
    try:
        changed = click.edit(text, editor=editor, extension=".toml", require_save=False)
    except click.ClickException as error:
        raise Failure(
            "config-unreadable",
            f"The editor could not be used: {error.format_message()}",
            hint=f"Name one, such as: {session.format_command('config', 'edit', '--editor', 'nano')}",
        ) from error
    return text if changed is None else changed


def _wants_to_correct(failure: Failure) -> bool:
    print_failure(failure)
    return click.confirm("Edit again?", default=True)


def _keep_text(path: Path, rejected: Path, text: str, failure: Failure) -> Failure:
    kept, number = rejected, 1
    while kept.exists() and read_config(kept) != text:
        number += 1
        kept = rejected.with_name(f"{rejected.name}-{number}")
    write_atomic(kept, text.encode("utf-8"), mode=0o600)
    return Failure(
        failure.code,
        failure.message,
        hint=f"{printable(str(path))} is unchanged; your text is in {printable(os.fspath(kept))}.",
    )
