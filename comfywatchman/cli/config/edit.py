"""`comfywatchman config edit`: a configuration file in the user's editor, checked before it is saved."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from comfywatchman.app.config_file import read_config, write_config
from comfywatchman.app.session import Session
from comfywatchman.base.config import user_config_file
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.cli.render import print_failure, printable


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def edit(session: Session, file: Path | None) -> None:
    """Open FILE, else ~/.config/comfywatchman/config.toml, in your editor; save it when it is valid.

    The editor is the one of VISUAL or EDITOR. With a mistake in it the file stays as it was, and your text is kept
    beside it.

    \b
    Examples:
      comfywatchman config edit
      EDITOR=nano comfywatchman config edit ./config.toml
    """
    path = file or session.config_option or user_config_file()
    rejected = path.with_name(f"{path.name}.rejected")
    before = text = read_config(path)
    question = f"Go on with the text that was rejected before ({printable(rejected.name)})?"
    if rejected.exists() and sys.stdin.isatty() and click.confirm(question, default=True):
        text = read_config(rejected)
    while True:
        text = _open_editor(text)
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


def _open_editor(text: str) -> str:
    try:
        changed = click.edit(text, extension=".toml", require_save=False)
    except click.ClickException as error:
        raise Failure(
            "config-unreadable",
            f"The editor could not be used: {error.format_message()}",
            hint="Name one, such as: EDITOR=nano comfywatchman config edit",
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
