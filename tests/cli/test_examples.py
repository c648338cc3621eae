"""The examples in the help of commands: two or more for each, and every one is a valid command."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator

import click
import pytest

from comfywatchman.cli.gov.main import gov
from comfywatchman.cli.jobs.main import jobs
from comfywatchman.cli.main import main

PROGRAMS = {"comfywatchman": main, "gov": gov, "e3": jobs}
ASSIGNMENT = "="


def list_commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from list_commands(child, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(list_commands(main, ()))


def list_examples(command: click.Command) -> list[list[str]]:
    """Return the lines below `Examples:`, as words."""
    text = (command.help or "").partition("Examples:\n")[2]
    lines = [line.strip() for line in text.partition("\n\n")[0].splitlines()]
    return [shlex.split(line) for line in lines if line]


def parse_example(words: list[str]) -> click.Command:
    """Parse an example as its program would; return the command that it reaches."""
    while ASSIGNMENT in words[0]:
        # A variable of the shell
        words = words[1:]
    ends = [words.index(sign) for sign in ("|", ">", ">>") if sign in words]
    words = words[: min(ends, default=None)]
    command: click.Command = PROGRAMS[words[0]]
    arguments = words[1:]
    # With its settings: click keeps the help option of the first context for ever.
    context = click.Context(command, **command.context_settings)
    while isinstance(command, click.Group):
        _values, rest, _order = command.make_parser(context).parse_args(arguments)
        name, child, arguments = command.resolve_command(context, rest)
        assert child is not None, name
        command = child
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(arguments)
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_two_examples_that_are_commands(name: str) -> None:
    examples = list_examples(COMMANDS[name])
    assert len(examples) >= 2
    reached = [parse_example(example).callback for example in examples]
    assert COMMANDS[name].callback in reached


def test_preformatted_help_fits_80_columns() -> None:
    blocks = []
    for command in (*COMMANDS.values(), gov, jobs):
        # Click indents the help by two columns, and leaves a block after a backspace as it is.
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
            if paragraph.startswith("\b"):
                blocks += paragraph.splitlines()
    assert len(blocks) > len(COMMANDS)
    assert [line for line in blocks if len(line) + 2 > 80] == []
