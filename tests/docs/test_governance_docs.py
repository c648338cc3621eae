"""What governance.md says against what the program has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from comfywatchman.cli import render
from comfywatchman.cli.gov.main import gov
from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.governance.checks.runner import CHECKS
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import TransactionStatus
from comfywatchman.governance.store.settings import read_default_config

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "governance.md").read_text("utf-8")


def commands(group: LazyGroup = gov, prefix: str = "gov") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.locations:
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, LazyGroup):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands())


def section(name: str) -> str:
    parts = re.split(rf"^### `{re.escape(name)}`$", TEXT, flags=re.MULTILINE)
    assert len(parts) == 2, f"governance.md has no section of {name}"
    return re.split(r"^##", parts[1], flags=re.MULTILINE)[0]


def table(heading: str) -> str:
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_module_index_names_every_command() -> None:
    index = (Path(__file__).parents[2] / "docs" / "module-index.md").read_text("utf-8")
    section = index.split("\n## Commands\n")[1]
    assert [name for name in COMMANDS if f"`{name}`" not in section] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_output_and_options(name: str) -> None:
    text = section(name)
    assert "```console\n$ gov" in text
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert f"| `{max(parameter.opts, key=len)}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    assert COMMANDS[name].help
    assert len(COMMANDS[name].get_short_help_str(200)) > 20


def test_documented_commands_and_options_exist() -> None:
    assert set(re.findall(r"^### `(gov[^`]*)`$", TEXT, re.MULTILINE)) == set(COMMANDS)
    for name, command in COMMANDS.items():
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"^\| `(--[\w-]+)", section(name), re.MULTILINE)) <= known


def test_options_before_the_command_are_documented() -> None:
    before = TEXT.split("### `gov init`", maxsplit=1)[0]
    for parameter in gov.params:
        assert f"| `{max(parameter.opts, key=len)}" in before


@pytest.mark.parametrize("status", get_args(TransactionStatus))
def test_every_transaction_status_is_documented(status: str) -> None:
    assert f"| `{status}` |" in table("Statuses of a transaction")


def test_documented_checks_are_the_registered_ones() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", table("Checks"), re.MULTILINE) == [check.name for check in CHECKS]


def test_documented_exit_codes_are_the_used_ones() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", table("Exit codes"), re.MULTILINE)]
    assert codes == [render.DONE, render.FAILED, render.USAGE, render.SKIPPED, render.INTERRUPTED]


def test_every_configuration_key_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `\[(\w+)\] (\w+)` \| (.+?) \|", TEXT, re.MULTILINE)
    explained = {(section, key): default.strip("`") for section, key, default in rows}
    tree = tomllib.loads(read_default_config())
    assert explained.keys() == {(section, key) for section, keys in tree.items() for key in keys}
    for (section, key), default in explained.items():
        if key != "core_packages":
            assert tomllib.loads(f"key = {default}")["key"] == tree[section][key], key


def test_every_file_of_a_governed_root_is_documented() -> None:
    root = Path("/env")
    layout = GovLayout(root)
    places = [name for name, value in vars(GovLayout).items() if isinstance(value, property)]
    assert len(places) > 10
    for name in places:
        assert f"`{getattr(layout, name).relative_to(root)}" in table("Files"), name
