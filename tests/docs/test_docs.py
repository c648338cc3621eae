from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import jsonschema
import msgspec
import orjson
import pytest

from comfywatchman.base.config import SHORTHANDS, Home, read_default_text
from comfywatchman.base.errors import CODES
from comfywatchman.cli import render
from comfywatchman.cli.main import COMMANDS, main
from comfywatchman.governance.store.settings import read_default_config as governed_default_text
from comfywatchman.readiness import status
from comfywatchman.readiness.gates import SkipCode
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.nodes.facts import NodeState
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from scripts.docs import SCHEMAS, pages

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
def test_every_command_and_option_is_documented(command: str, option: str) -> None:
    text = (REFERENCE / "commands.md").read_text("utf-8")
    section = text.split(f"## `{command}`")
    assert len(section) == 2, f"commands.md has no section of {command}"
    assert f"`{option}" in section[1].split("\n## ")[0]


def test_documented_commands_exist() -> None:
    named = re.findall(r"^## `comfywatchman ([\w-]+)`", (REFERENCE / "commands.md").read_text("utf-8"), re.MULTILINE)
    assert set(named) == set(COMMANDS)


def test_documented_failure_codes_are_the_registered_ones() -> None:
    explained = re.findall(r"^\| `([\w-]+)` \|", (REFERENCE / "failures.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(explained) == sorted(CODES)


def test_every_command_is_shown_with_output() -> None:
    sections = re.split(r"^## ", (REFERENCE / "commands.md").read_text("utf-8"), flags=re.MULTILINE)
    for section in sections:
        if section.startswith("`"):
            assert "```console\n$ " in section or "```console\n# " in section, section.splitlines()[0]


def test_documented_options_exist() -> None:
    known = set(_options()) | {(command, "--help") for command, _ in _options()}
    sections = (REFERENCE / "commands.md").read_text("utf-8").split("\n## `")[1:]
    for section in sections:
        command = section.split("`")[0]
        for option in re.findall(r"^\| `(--[\w-]+)", section, re.MULTILINE):
            assert (command, option) in known, f"{command} has no {option}"


def test_documented_exit_codes_are_the_used_ones() -> None:
    text = (REFERENCE / "commands.md").read_text("utf-8").split("## Exit codes")[1].split("\n## ")[0]
    explained = [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert explained == [render.DONE, render.FAILED, render.USAGE, render.SKIPPED, render.INTERRUPTED]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_bytes() == pages()[path], "run: make docs"


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_schemas_are_valid(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(orjson.loads(path.read_bytes()))


def test_every_schema_file_is_generated() -> None:
    assert set(SCHEMAS.iterdir()) == {path for path in pages() if path.parent == SCHEMAS}


def test_every_state_file_is_documented() -> None:
    text = (REFERENCE / "state.md").read_text("utf-8")
    layout = ReadinessLayout(Home(Path("/home")))
    names = [name for name, value in vars(ReadinessLayout).items() if isinstance(value, property)]
    assert len(names) > 10
    for name in names:
        assert f"{getattr(layout, name).name}" in text, f"state.md does not name {name}"
    for schema in SCHEMAS.iterdir():
        assert f"](schemas/{schema.name})" in text


@pytest.mark.parametrize(
    "name",
    [*WorkflowStatus, *ModelState, *NodeState, *get_args(SkipCode)],
    ids=lambda name: str(getattr(name, "value", name)),
)
def test_every_state_of_the_report_is_documented(name: str) -> None:
    assert re.search(rf"^\| `{re.escape(str(name))}` \|", (REFERENCE / "report.md").read_text("utf-8"), re.MULTILINE)


def _fields() -> Iterator[tuple[str, str]]:
    for shape in vars(status).values():
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct) and shape.__module__ == status.__name__:
            for name in shape.__struct_fields__:
                yield shape.__name__, name


@pytest.mark.parametrize(("shape", "field"), list(_fields()))
def test_every_field_of_the_report_is_documented(shape: str, field: str) -> None:
    assert f"`{field}`" in (REFERENCE / "report.md").read_text("utf-8"), f"{shape}.{field}"


def test_shorthand_variables_are_documented() -> None:
    text = (ROOT / "docs" / "how-to" / "configure.md").read_text("utf-8")
    for name in (*SHORTHANDS, "COMFYWATCHMAN_HOME"):
        assert f"`{name}`" in text


def test_every_figure_has_a_command_and_a_date() -> None:
    text = (ROOT / "docs" / "measurements.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows
    for row in rows:
        assert len(row) == 4, row
        assert "`" in row[1], row
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \|", row[3]), row


def test_every_page_is_linked_from_a_readme() -> None:
    indexes = [ROOT / "README.md", ROOT / "docs" / "README.md"]
    linked = {
        (page.parent / target).resolve()
        for page in indexes
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in target
    }
    assert {page for page in ROOT.glob("docs/**/*.md") if page not in indexes} <= linked


def test_every_configuration_key_named_in_the_documentation_exists() -> None:
    sections = {**tomllib.loads(read_default_text()), **tomllib.loads(governed_default_text())}
    for page in PAGES:
        for section, key in re.findall(r"`\[(\w+)\] (\w+)", page.read_text("utf-8")):
            assert key in sections.get(section, {}), f"{page.name} names [{section}] {key}"


def test_every_package_is_described_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `([a-z_/]+)` \|", text, re.MULTILINE))
    package = ROOT / "comfywatchman"
    packages = {path.parent.relative_to(package).as_posix() for path in package.rglob("*.py")} - {"."}
    assert packages - rows == set(), "add a row under Packages"


def test_module_index_names_existing_files() -> None:
    text = (ROOT / "docs" / "module-index.md").read_text("utf-8")
    named = re.findall(r"`([a-z]\w*/[\w/]+\.[a-z.0-9]+)`", text)
    assert len(named) > 100
    assert [path for path in named if not (ROOT / "comfywatchman" / path).is_file()] == []


def test_module_index_names_every_command() -> None:
    section = (ROOT / "docs" / "module-index.md").read_text("utf-8").split("\n## Commands\n")[1]
    named = {name for line in section.splitlines() for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])}
    assert set(COMMANDS) <= named


def test_architecture_names_existing_modules() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for area, rest in re.findall(r"`(base|comfyui|sources|readiness|governance|cli)[./]([\w./]+)`", text):
        place = ROOT.joinpath("comfywatchman", area, *re.split(r"[./]", rest.removesuffix(".py")))
        there = place.is_dir() or place.with_suffix(".py").is_file() or (place.parent / place.name).is_file()
        assert there or (ROOT / "comfywatchman" / area / rest).is_file(), f"{area}.{rest}"


def test_documented_dependencies_are_the_declared_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = (
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    )
    wanted = {re.split(r"[<>=\[ ]", one)[0] for group in groups for one in group}
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert all(cell.strip() for row in rows for cell in row)
    assert {name for row in rows for name in row[0].split(", ")} - {"package"} == wanted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_pages_name_existing_commands_and_make_targets() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"[`$] ?make ([a-z]+)\b", text)) <= targets
    assert set(re.findall(r"`comfywatchman ([a-z][\w-]*)", text)) <= set(COMMANDS)
