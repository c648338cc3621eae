"""What supervise.md says against what the program has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfywatchman.cli import render
from comfywatchman.cli.supervise.main import supervise
from comfywatchman.supervisor.mailbox import FINAL_SWITCH_STATES
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus
from tests.docs.command_pages import list_documented_options, list_options, read_section

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "reference" / "supervise.md").read_text("utf-8")


def options(name: str) -> set[str]:
    return list_options(supervise, name)


def section(name: str) -> str:
    return read_section(TEXT, f"### `supervise {name}`")


@pytest.mark.parametrize("name", supervise.locations)
def test_every_command_is_documented_with_output_and_options(name: str) -> None:
    text = section(name)
    assert "```console\n$ comfywatchman supervise" in text
    documented = list_documented_options(text)
    assert documented == options(name)


def test_documented_commands_exist() -> None:
    assert set(re.findall(r"^### `supervise ([\w-]+)`$", TEXT, flags=re.MULTILINE)) == set(supervise.locations)


def test_every_state_is_documented() -> None:
    table = TEXT.split("\n## States\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == {state.value for state in SupervisorState}


def test_every_end_of_a_switch_is_documented() -> None:
    table = (DOCS / "how-to" / "switch-environments.md").read_text("utf-8").split("\n## How it ends\n")[1]
    ends = re.findall(r"^\| `(\w+)` \|", table.split("\n## ")[0], flags=re.MULTILINE)
    assert set(ends) == {state.value for state in FINAL_SWITCH_STATES}


def test_exit_codes_of_run_are_those_of_the_program() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", section("run"), flags=re.MULTILINE)]
    assert codes == [render.DONE, render.FAILED, render.USAGE, render.SKIPPED, render.INTERRUPTED]


def test_module_index_names_every_command() -> None:
    commands = (DOCS / "module-index.md").read_text("utf-8").split("\n## Commands\n")[1]
    assert [name for name in supervise.locations if f"`supervise {name}`" not in commands] == []


def test_every_field_of_the_status_is_documented() -> None:
    text = (DOCS / "reference" / "supervisor-files.md").read_text("utf-8")
    table = text.split("\n## `supervisor_status.json`")[1].split("\n## ")[0]
    fields = set(SupervisorStatus.__struct_fields__) - {"schema_version"}
    assert {field for field in fields if f"`{field}`" not in table} == set()
