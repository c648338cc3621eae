"""The command group `jobs`, also available as `e3`: queue work for ComfyUI in files, and run it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.options import CONTEXT_SETTINGS, session_options

COMMANDS: Final = {
    "init": "comfywatchman.cli.jobs.init:init",
    "add": "comfywatchman.cli.jobs.add:add",
    "start": "comfywatchman.cli.jobs.start:start",
    "monitor": "comfywatchman.cli.jobs.monitor:monitor",
    "run": "comfywatchman.cli.jobs.run:run",
    "queue": "comfywatchman.cli.jobs.main:queue",
    "show": "comfywatchman.cli.jobs.show:show",
    "retry": "comfywatchman.cli.jobs.change:retry",
    "god-mode": "comfywatchman.cli.jobs.change:god_mode",
    "cancel": "comfywatchman.cli.jobs.change:cancel",
    "bulk": "comfywatchman.cli.jobs.main:bulk",
    "pause": "comfywatchman.cli.jobs.change:pause",
    "resume": "comfywatchman.cli.jobs.change:resume",
    "stats": "comfywatchman.cli.jobs.stats:stats",
    "hosts": "comfywatchman.cli.jobs.hosts:hosts",
}
QUEUE_COMMANDS: Final = {
    "ls": "comfywatchman.cli.jobs.queue:list_queue",
    "set-priority": "comfywatchman.cli.jobs.change:set_priority",
}
BULK_COMMANDS: Final = {
    "retry": "comfywatchman.cli.jobs.bulk:retry_many",
    "cancel": "comfywatchman.cli.jobs.bulk:cancel_many",
    "set-priority": "comfywatchman.cli.jobs.bulk:set_priority_of_many",
}
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed or refused, 2 usage, configuration or not found, 75 jobs wait for something, "
    "130 interrupted."
)


@click.group("jobs", cls=LazyGroup, locations=COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
@session_options("e3")
@click.pass_context
def jobs(context: click.Context, home: Path | None, config_file: Path | None, comfyui: Path | None) -> None:
    """Run work on ComfyUI from job files: each job once, in order of priority.

    Drop a job file into jobs/processing/; its outputs appear in jobs/finished/.

    \b
    comfywatchman jobs start           read job files and run them, until stopped
    comfywatchman jobs queue ls        what waits, runs and is done
    comfywatchman jobs show NAME       one job: outputs, timings, errors
    comfywatchman jobs retry NAME      run a failed job again
    """
    from comfywatchman.app.session import Session

    # As `comfywatchman jobs`, it inherits the options that were given before `jobs`.
    outer = context.obj if isinstance(context.obj, Session) else Session(None, None)
    context.obj = Session(
        home_option=home or outer.home_option,
        config_option=config_file or outer.config_option,
        comfyui_option=comfyui or outer.comfyui_option,
    )


@click.group(cls=LazyGroup, locations=QUEUE_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def queue() -> None:
    """List the jobs, and change their priorities."""


@click.group(cls=LazyGroup, locations=BULK_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def bulk() -> None:
    """Change all jobs that match, as many as you confirm."""
