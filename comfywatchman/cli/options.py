"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from comfywatchman import __version__

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of both programs; click passes them on to the commands."""


def json_option(command: CommandT) -> CommandT:
    """Add `--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


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
        click.version_option(__version__, prog_name=program),
    )

    def decorate(command: CommandT) -> CommandT:
        # The last decorator applied is shown first in the help.
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
