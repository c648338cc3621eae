from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from comfywatchman.cli.gov.main import gov
from comfywatchman.cli.lazy import LazyGroup, read_summary
from comfywatchman.cli.main import main

MODULE = '''
"""A module that must not be imported for the help."""

raise SystemExit("imported")


def with_docstring() -> None:
    """Do one thing.

    More about it.
    """


def without_docstring() -> None:
    pass
'''


def list_groups(group: LazyGroup) -> list[LazyGroup]:
    """Return a group and all groups in it."""
    context = click.Context(group)
    groups = [group]
    for name in group.locations:
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            groups.extend(list_groups(command))
    return groups


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lazy_example.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "lazy_example"


def test_summary_is_the_first_line_of_the_docstring(module: str) -> None:
    assert read_summary(f"{module}:with_docstring") == "Do one thing."


@pytest.mark.parametrize("name", ["without_docstring", "missing"])
def test_command_without_docstring_has_an_empty_summary(module: str, name: str) -> None:
    group = LazyGroup(name="group", locations={"one": f"{module}:{name}"})
    result = CliRunner().invoke(group, ["--help"])
    assert (result.exit_code, result.exception) == (0, None)
    assert "Commands:\n  one" in result.output


def test_missing_module_has_an_empty_summary() -> None:
    assert read_summary("no_such_module_at_all:main") == ""


@pytest.mark.parametrize("group", [*list_groups(main), *list_groups(gov)], ids=lambda group: str(group.name))
def test_every_command_has_the_summary_of_its_help(group: LazyGroup) -> None:
    context = click.Context(group)
    for name, location in group.locations.items():
        command = group.get_command(context, name)
        assert command is not None
        summary = read_summary(location)
        assert summary
        assert (command.help or "").startswith(summary), name


@pytest.mark.slow
def test_help_imports_no_command() -> None:
    code = "import sys; from comfywatchman.cli.main import main; main(['--help'], standalone_mode=False)"
    check = "; print([name for name in sys.modules if name.startswith('comfywatchman.readiness')], file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


def test_unknown_command_suggests_the_closest_one() -> None:
    result = CliRunner().invoke(main, ["stats"])
    assert result.exit_code == 2
    assert "No such command 'stats'. Did you mean 'status'?" in result.output
