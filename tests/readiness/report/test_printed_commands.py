"""The options of a call in the commands that its texts name."""

from __future__ import annotations

import pytest

from comfywatchman.cli.gov.main import COMMANDS as GOV_COMMANDS
from comfywatchman.cli.main import COMMANDS
from comfywatchman.readiness.report.printed_commands import COMMAND_NAMES, complete_commands

PROGRAMS = {"comfywatchman": ("comfywatchman", "--home", "/my home"), "gov": ("gov", "--root", "/env")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Run: gov init", "Run: gov --root /env init"),
        ("See `gov node list`; or gov undo 1.", "See `gov --root /env node list`; or gov --root /env undo 1."),
        ("comfywatchman --run-cycle", "comfywatchman --home '/my home' --run-cycle"),
        ("(comfywatchman resolve --refresh)", "(comfywatchman --home '/my home' resolve --refresh)"),
        ("comfywatchman --home /x status", "comfywatchman --home /x status"),
        ("The next gov command finishes it.", "The next gov command finishes it."),
        ("Upgrade comfywatchman with uv.", "Upgrade comfywatchman with uv."),
        ("3 gov checks", "3 gov checks"),
        ("/bin/gov init", "/bin/gov init"),
        ("comfywatchman statuses", "comfywatchman statuses"),
        ("e3 start", "e3 start"),
    ],
)
def test_commands_get_the_options_of_the_call(text: str, expected: str) -> None:
    assert complete_commands(text, PROGRAMS) == expected
    assert complete_commands(expected, PROGRAMS) == expected


def test_program_without_options_changes_nothing() -> None:
    text = "Run: gov init, then comfywatchman doctor"
    assert complete_commands(text, {"comfywatchman": ("comfywatchman",), "gov": ("gov",)}) == text


def test_all_commands_are_known() -> None:
    assert COMMAND_NAMES["comfywatchman"] == {*COMMANDS, "--run-cycle", "--scheduler", "--list-intake"}
    assert COMMAND_NAMES["gov"] == set(GOV_COMMANDS)
