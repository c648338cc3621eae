"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from comfywatchman import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of both programs; click passes them on to the commands."""


def json_option(command: CommandT) -> CommandT:
    """Add `--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def complete_names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return the completion of an argument.

    Args:
        kind: The kind of names, a key of `app.completion.SOURCES`.
    """

    def complete(context: click.Context, _parameter: click.Parameter, word: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from comfywatchman.app.completion import FILE_KINDS, list_names
        from comfywatchman.app.session import Session

        # While completing, no command runs: the session is made from the options before the command.
        options = context.find_root().params
        session = Session(options.get("home"), options.get("config_file"), options.get("comfyui"), options.get("root"))
        names = list_names(kind, session, word)
        if not names and kind in FILE_KINDS:
            return [CompletionItem(word, type="file")]
        return [CompletionItem(name) for name in names]

    return complete


def session_options(program: str) -> Callable[[CommandT], CommandT]:
    """Return a decorator that adds the options of `app.session.Session`, and `--version`.

    The parameters are `home`, `config_file` and `comfyui`.

    Args:
        program: The name of the program, for `--version`.
    """
    options = (
        click.option("--home", type=click.Path(path_type=Path), help="Folder that holds state/, output/ and log/."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="A configuration file, read after all others.",
        ),
        click.option(
            "--comfyui", type=click.Path(path_type=Path), help="Folder of ComfyUI, instead of the configured one."
        ),
        click.option(
            "--version",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda context, _option, is_given: _print_version(context, program, is_given=is_given),
            help="Show version and commit, and exit.",
        ),
    )

    def decorate(command: CommandT) -> CommandT:
        # The last decorator applied is shown first in the help.
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _print_version(context: click.Context, program: str, *, is_given: bool) -> None:
    if not is_given or context.resilient_parsing:
        return
    from comfywatchman.app.build_info import find_commit

    commit = find_commit()
    click.echo(f"{program}, version {__version__}" + (f" ({commit})" if commit else ""))
    context.exit()
