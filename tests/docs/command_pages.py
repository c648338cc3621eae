"""What tests of the reference pages of commands share."""

from __future__ import annotations

import re

import click


def list_options(group: click.Group, name: str) -> set[str]:
    """Return the long form of each option of a command."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return {max(option.opts, key=len) for option in command.params if isinstance(option, click.Option)}


def list_documented_options(section: str) -> set[str]:
    """Return the options in the table of a command's section."""
    return set(re.findall(r"^\| `(--[\w-]+)", section, flags=re.MULTILINE))


def read_section(text: str, heading: str) -> str:
    """Return the section of a page below a heading such as ``### `supervise run` ``."""
    parts = re.split(rf"^{re.escape(heading)}$", text, flags=re.MULTILINE)
    assert len(parts) == 2, f"the page has no section {heading}"
    return re.split(r"^##", parts[1], flags=re.MULTILINE)[0]
