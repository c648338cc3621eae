from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from comfywatchman.base.config import default_text
from comfywatchman.base.errors import CODES
from comfywatchman.cli.main import COMMANDS, main
from comfywatchman.readiness.report import json_schema

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def _options() -> Iterator[tuple[str, str]]:
    context = click.Context(main)
    for option in main.params:
        if not getattr(option, "hidden", False):
            yield "comfywatchman", max(option.opts, key=len)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield f"comfywatchman {name}", max(parameter.opts, key=len)


@pytest.mark.parametrize(("command", "option"), list(_options()))
def test_every_command_and_option_stands_in_the_reference(command: str, option: str) -> None:
    text = (REFERENCE / "commands.md").read_text("utf-8")
    section = text.split(f"## `{command}`")
    assert len(section) == 2, f"commands.md has no section of {command}"
    assert f"`{option}" in section[1].split("\n## ")[0]


def test_the_reference_names_no_command_that_does_not_exist() -> None:
    named = re.findall(r"^## `comfywatchman ([\w-]+)`", (REFERENCE / "commands.md").read_text("utf-8"), re.MULTILINE)
    assert set(named) == set(COMMANDS)


def test_every_failure_code_is_explained_and_no_other() -> None:
    explained = re.findall(r"^\| `([\w-]+)` \|", (REFERENCE / "failures.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(explained) == sorted(CODES)


def test_the_shipped_json_schema_is_that_of_the_report() -> None:
    assert (REFERENCE / "master_status.schema.json").read_bytes() == json_schema(), "run: make docs"


def test_every_configuration_key_named_in_the_documentation_exists() -> None:
    sections = tomllib.loads(default_text())
    for page in PAGES:
        for section, key in re.findall(r"`\[(\w+)\] (\w+)", page.read_text("utf-8")):
            assert key in sections.get(section, {}), f"{page.name} names [{section}] {key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_only_commands_and_make_targets_that_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets
    assert set(re.findall(r"`comfywatchman ([a-z][\w-]*)", text)) <= set(COMMANDS)
