"""What versions.md says against what the program has."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from comfywatchman.cli.version.create import GAP_TEXTS
from comfywatchman.cli.version.main import version
from tests.docs.command_pages import list_documented_options, list_options, read_section

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "reference" / "versions.md").read_text("utf-8")


def options(name: str) -> set[str]:
    return list_options(version, name)


def section(name: str) -> str:
    return read_section(TEXT, f"## `version {name}`")


@pytest.mark.parametrize("name", version.locations)
def test_every_command_is_documented_with_output_and_options(name: str) -> None:
    text = section(name)
    assert "```console\n$ comfywatchman version" in text
    assert list_documented_options(text) == options(name)


def test_documented_commands_exist() -> None:
    assert set(re.findall(r"^## `version ([\w-]+)`$", TEXT, flags=re.MULTILINE)) == set(version.locations)


@pytest.mark.parametrize("name", version.locations)
def test_help_shows_two_examples(name: str) -> None:
    command = version.get_command(click.Context(version), name)
    assert command is not None
    assert len(re.findall(rf"^ +comfywatchman version {name} ?", command.help or "", flags=re.MULTILINE)) >= 2


def test_every_reason_is_documented() -> None:
    assert {reason for reason in GAP_TEXTS if f"`{reason}`" not in section("create")} == set()


def test_module_index_names_every_command() -> None:
    commands = (DOCS / "module-index.md").read_text("utf-8").split("\n## Commands\n")[1]
    assert [name for name in version.locations if f"`version {name}`" not in commands] == []
