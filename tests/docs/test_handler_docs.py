"""What handler.md says against what the program has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfywatchman.cli.handler.main import handler
from comfywatchman.handler.request import MAX_INPUT_BYTES, MAX_INPUTS, MAX_NODES, OutputMode
from tests.docs.command_pages import list_documented_options, list_options, read_section

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "reference" / "handler.md").read_text("utf-8")


@pytest.mark.parametrize("name", handler.locations)
def test_every_command_is_documented_with_output_and_options(name: str) -> None:
    text = read_section(TEXT, f"## `handler {name}`")
    assert "```console\n$ comfywatchman handler" in text
    assert list_documented_options(text) == list_options(handler, name)


def test_documented_commands_exist() -> None:
    assert set(re.findall(r"^## `handler ([\w-]+)`$", TEXT, flags=re.MULTILINE)) == set(handler.locations)


def test_module_index_names_every_command() -> None:
    commands = (DOCS / "module-index.md").read_text("utf-8").split("\n## Commands\n")[1]
    assert [name for name in handler.locations if f"`handler {name}`" not in commands] == []


def test_limits_of_requests_are_documented() -> None:
    text = read_section(TEXT, "## Requests")
    assert f"at most {MAX_NODES:,} nodes" in text
    assert f"Up to {MAX_INPUTS} input files" in text
    assert f"At most {MAX_INPUT_BYTES >> 20} MiB each" in text
    assert [mode for mode in OutputMode if f"`{mode}`" not in text] == []
