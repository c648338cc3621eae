"""The hidden option `--task`: a command that the page started in the background records its progress and its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfywatchman.base.errors import Failure
from comfywatchman.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from comfywatchman.app.tasks.progress import TaskReporter

_KEY: Final = "comfywatchman.task"
_INTERRUPTED: Final = 130


class TaskGroup(LazyGroup):
    """A group of commands that record how they end when they are called with `--task`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        path: Path | None = ctx.params.get("task_file")
        if path is None:
            return super().invoke(ctx)
        from comfywatchman.app.tasks.progress import TaskReporter

        reporter = ctx.meta[_KEY] = TaskReporter(path)
        reporter.show("")
        status = 1
        try:
            result = super().invoke(ctx)
            status = 0
        except click.exceptions.Exit as ending:
            status = ending.exit_code
            raise
        except Failure as failure:
            reporter.fail(failure.code, failure.message, failure.hint)
            raise
        except click.ClickException as error:
            reporter.fail("usage", error.format_message())
            raise
        except (click.Abort, KeyboardInterrupt):
            status = _INTERRUPTED
            raise
        finally:
            reporter.end(status)
        return result


def find_reporter(context: click.Context) -> TaskReporter | None:
    """Return where this command records its progress; None unless it was called with `--task`."""
    reporter: TaskReporter | None = context.meta.get(_KEY)
    return reporter
