"""What jobs-commands.md says against what the program has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfywatchman.cli.jobs.main import bulk, jobs, queue
from comfywatchman.jobs.execution import outcomes
from comfywatchman.jobs.records import WaitCode
from comfywatchman.jobs.store import transitions
from tests.docs.command_pages import list_documented_options, list_options, read_section

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "jobs-commands.md").read_text("utf-8")
GROUPS = {"queue": queue, "bulk": bulk}
NAMES = [name for name in jobs.locations if name not in GROUPS]
NAMES += [f"{group} {name}" for group in GROUPS for name in GROUPS[group].locations]


def options(name: str) -> set[str]:
    group, _, command = name.rpartition(" ")
    return list_options(GROUPS[group] if group else jobs, command)


def section(name: str) -> str:
    return read_section(TEXT, f"### `jobs {name}`")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_documented_with_its_options(name: str) -> None:
    text = section(name)
    assert f"```console\n$ comfywatchman jobs {name}" in text
    assert list_documented_options(text) == options(name)


def test_documented_commands_exist() -> None:
    assert set(re.findall(r"^### `jobs ([\w -]+)`$", TEXT, flags=re.MULTILINE)) == set(NAMES)


def test_every_reason_to_wait_is_documented() -> None:
    table = TEXT.split("\n## Why jobs wait\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)) == {code.value for code in WaitCode}


def test_every_end_of_a_run_is_documented() -> None:
    table = TEXT.split("\n## Why a run ended\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(jobs-[\w-]+)` \|", table, flags=re.MULTILINE))
    constants = {**vars(outcomes), **vars(transitions)}
    codes = {value for name, value in constants.items() if name.isupper() and isinstance(value, str)}
    assert documented == codes
