"""Groups whose commands are imported when they are used, so that `--help` and `--version` start fast."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from comfywatchman.base.errors import Failure

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group of commands, each given by its location.

    The help of the group shows the first line of each command's docstring, read from its source file: importing all
    commands would take ten times as long.

    Args:
        locations: Where each command is, as `module:function`, in the order of the help.
        attributes: As for any group.
    """

    def __init__(self, *, locations: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.locations = locations

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the commands in the text of an error get the options of this call."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            # The innermost group knows all options; those around it find complete commands.
            complete_failure(failure, ctx)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands, in the order of the help."""
        return list(self.locations)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        location = self.locations.get(cmd_name)
        if location is None:
            return None
        module, _, function = location.partition(":")
        command: click.Command = getattr(import_module(module), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; the error for an unknown name suggests the closest one."""
        if args and args[0] not in self.locations and not args[0].startswith("-"):
            message = f"No such command {args[0]!r}."
            close = difflib.get_close_matches(args[0], self.locations, n=1)
            if close:
                message += f" Did you mean {close[0]!r}?"
            ctx.fail(message)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with a word, without importing the commands."""
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=read_summary(location))
            for name, location in self.locations.items()
            if name.startswith(incomplete)
        ]
        # Those of a group are commands again, found by importing them.
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, read_summary(self.locations[name])) for name in self.list_commands(ctx)])


def complete_failure(failure: Failure, context: click.Context) -> None:
    """Add the options of a call to the commands in the text of its error."""
    complete = getattr(context.obj, "complete_commands", None)
    if complete is not None:
        failure.change_texts(complete)


def read_summary(location: str) -> str:
    """Return the first line of a command's docstring, without importing its module; empty when there is none.

    Args:
        location: `module:function`.
    """
    module, _, name = location.partition(":")
    for node in _parse_source(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            docstring = ast.get_docstring(node) or ""
            return docstring.partition("\n")[0]
    return ""


@cache
def _parse_source(module: str) -> ast.Module:
    # Finding a module imports the packages above it, but not the module.
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ast.Module(body=[], type_ignores=[])
    return ast.parse(Path(spec.origin).read_bytes())
