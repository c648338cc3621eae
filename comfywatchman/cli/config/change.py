"""`comfywatchman config set` and `config unset`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from comfywatchman.app.config_file import ConfigChange, choose_file, find_override, set_key, unset_key
from comfywatchman.app.session import Session
from comfywatchman.base.config import SCHEMA
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, printable


# A negative number is a value.
@click.command("set", context_settings={"ignore_unknown_options": True})
@json_option
@click.argument("key", shell_complete=complete_names("configuration key"))
@click.argument("value")
@click.pass_obj
def set_value(session: Session, key: str, value: str, as_json: bool) -> None:
    """Set KEY to VALUE in the file that sets it now, else in ~/.config/comfywatchman/config.toml.

    `--config FILE` before the command names another file. Comments and order are kept. Write text as it is, and
    numbers, true, false and lists as in TOML. Use `config edit` for secrets: your shell keeps a history.

    \b
    Examples:
      comfywatchman config set comfyui.root ~/ComfyUI
      comfywatchman config set search.backend_order '["civitai"]'
    """
    _report(session, set_key(_choose_file(session, key), key, value), as_json=as_json)


@click.command()
@json_option
@click.argument("key", shell_complete=complete_names("configuration key"))
@click.pass_obj
def unset(session: Session, key: str, as_json: bool) -> None:
    """Remove KEY from the file that sets it, so that an earlier file or the default applies.

    \b
    Examples:
      comfywatchman config unset schedule.min_vram_gb
      comfywatchman --config other.toml config unset comfyui.url
    """
    _report(session, unset_key(_choose_file(session, key), key), as_json=as_json)


def _choose_file(session: Session, key: str) -> Path:
    SCHEMA.check_key(key, "the command")
    configuration = None
    # A broken configuration may be what the change repairs.
    with contextlib.suppress(Failure):
        configuration = session.configuration
    return choose_file(configuration, key, session.config_option)


def _report(session: Session, change: ConfigChange, *, as_json: bool) -> None:
    override = None
    # The change is made; another mistake in the configuration is reported by every other command.
    with contextlib.suppress(Failure):
        # Read anew: the session holds the configuration from before the change.
        fresh = Session(session.home_option, session.config_option, session.comfyui_option).configuration
        override = find_override(fresh, change)
    if as_json:
        print_json(
            file=str(change.path), key=change.key, before=change.before, after=change.after, overridden_by=override
        )
        return
    click.echo(_describe(change))
    if change.missing_path is not None:
        click.echo(f"Note: {printable_path(change.missing_path)} does not exist.")
    if override is not None:
        click.echo(f"It has no effect yet: {printable(override)} sets the same key and is read later.")


def _describe(change: ConfigChange) -> str:
    place = printable(str(change.path))
    before = None if change.before is None else printable(change.before)
    after = None if change.after is None else printable(change.after)
    if after is None:
        if before is None:
            return f"{change.key} is not set in {place}."
        return f"{change.key} is no longer set in {place} (it was {before})."
    if before == after and not change.is_secret:
        return f"{change.key} is already {after} in {place}."
    was = "" if before is None else f" (it was {before})"
    return f"{change.key} = {after} in {place}{was}."
