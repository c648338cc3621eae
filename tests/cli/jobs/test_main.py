from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from comfywatchman.__main__ import run_e3
from comfywatchman.cli.jobs.main import COMMANDS, EXIT_CODES, QUEUE_COMMANDS, jobs, queue
from comfywatchman.cli.main import main


@pytest.mark.parametrize("arguments", [["jobs", "--help"], ["jobs"]])
def test_help_lists_every_command_and_the_exit_codes(arguments: list[str]) -> None:
    text = CliRunner().invoke(main, arguments).output
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []
    assert EXIT_CODES.split() == text[text.index("Exit codes:") :].split()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_found_at_its_location(name: str) -> None:
    command = jobs.get_command(click.Context(jobs), name)
    assert command is not None
    assert command.name == name


@pytest.mark.parametrize("name", QUEUE_COMMANDS)
def test_command_of_the_queue_is_found_at_its_location(name: str) -> None:
    command = queue.get_command(click.Context(queue), name)
    assert command is not None
    assert command.name == name


def test_e3_is_the_same_group(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["e3", "--version"])
    with pytest.raises(SystemExit) as ended:
        run_e3()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("e3, version ")
