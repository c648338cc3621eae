from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from comfywatchman.cli.main import main
from comfywatchman.cli.supervise.main import COMMANDS, EXIT_CODES, supervise


def test_help_lists_every_command_and_the_exit_codes() -> None:
    text = CliRunner().invoke(main, ["supervise", "--help"]).stdout
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []
    assert EXIT_CODES.split() == text[text.index("Exit codes:") :].split()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_found_at_its_location(name: str) -> None:
    command = supervise.get_command(click.Context(supervise), name)
    assert command is not None
    assert command.name == name


def test_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["supervise", "strat"])
    assert result.exit_code == 2
    assert "strat" in result.stderr
