"""Commands that a page shows, held against the command line."""

from __future__ import annotations

import html
import re
import shlex

import click

from comfywatchman.cli.main import main


def list_commands(page: str) -> list[str]:
    """Return the commands that a page shows."""
    found = re.findall(r'<code class="cmd[^"]*">(.*?)</code>', page, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", text)).strip() for text in found]


def parse_command(text: str) -> None:
    """Parse a command as click does, without running it.

    Raises:
        click.UsageError: There is no such command or option.
    """
    program, *arguments = shlex.split(text)
    assert program == "comfywatchman", text
    command: click.Command = main
    parent: click.Context | None = None
    while True:
        context = click.Context(command, parent=parent, info_name=command.name)
        _options, arguments, _order = command.make_parser(context).parse_args(arguments)
        if not isinstance(command, click.Group):
            assert arguments == [], text
            return
        if not arguments:
            return
        _name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, parent = found, context
