"""The command line: the options of the readiness cycle, and the commands, each imported when it is called."""

from __future__ import annotations

import errno
import io
import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from comfywatchman.cli.options import CONTEXT_SETTINGS, json_option, session_options
from comfywatchman.cli.task_option import TaskGroup, find_reporter

GLOBAL_OPTIONS: Final = frozenset({"--home", "--config", "--comfyui", "--root"})
COMMANDS: Final = {
    "setup": "comfywatchman.cli.install.setup:setup",
    "status": "comfywatchman.cli.status:status",
    "doctor": "comfywatchman.cli.doctor:doctor",
    "scan": "comfywatchman.cli.scan:scan",
    "explain": "comfywatchman.cli.scan:explain",
    "resolve": "comfywatchman.cli.resolve:resolve",
    "inspect": "comfywatchman.cli.inspect:inspect",
    "image": "comfywatchman.cli.image:image",
    "download": "comfywatchman.cli.download:download",
    "duplicates": "comfywatchman.cli.duplicates:duplicates",
    "history": "comfywatchman.cli.history:history",
    "config": "comfywatchman.cli.config.main:config",
    "completion": "comfywatchman.cli.install.completion:completion",
    "backup": "comfywatchman.cli.backup:backup",
    "install-service": "comfywatchman.cli.install.service:install_service",
    "supervise": "comfywatchman.cli.supervise.main:supervise",
    "version": "comfywatchman.cli.version.main:version",
    "env": "comfywatchman.cli.gov.main:gov",
    "jobs": "comfywatchman.cli.jobs.main:jobs",
    "handler": "comfywatchman.cli.handler.main:handler",
    "web": "comfywatchman.cli.web.serve:web",
}


LATE_CONFIGURATION: Final = frozenset({"config", "doctor", "env", "jobs"})
"""Commands that read the configuration themselves: `config --defaults` helps to repair it, others have options."""


@click.group(
    cls=TaskGroup,
    locations=COMMANDS,
    invoke_without_command=True,
    context_settings=CONTEXT_SETTINGS,
    epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration, 75 skipped by a gate, 130 interrupted.",
)
@click.option("--run-cycle", is_flag=True, help="Run one readiness cycle now, unless a gate prevents it.")
@click.option(
    "--scheduler",
    is_flag=True,
    help="Run cycles until stopped: one now, then one per interval (default: 120 minutes).",
)
@click.option(
    "--list-intake",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=20,
    metavar="[N]",
    help="Show the last N workflow files that were added, changed or removed (default: 20).",
)
@session_options("comfywatchman")
@click.option(
    "--auto-download", is_flag=True, help="With --run-cycle: download models that are FOUND and verified by their hash."
)
@json_option
@click.option(
    "--trigger",
    type=click.Choice(["manual", "first", "schedule", "cron"]),
    default="manual",
    help="Trigger to record in the history; service files set it.",
)
@click.option("--note", "as_note", is_flag=True, hidden=True, help="Print one line for the scheduler.")
@click.option("--task", "task_file", type=click.Path(path_type=Path), hidden=True, help="Record the progress there.")
@click.pass_context
def main(
    context: click.Context,
    run_cycle: bool,
    scheduler: bool,
    list_intake: int | None,
    home: Path | None,
    config_file: Path | None,
    comfyui: Path | None,
    auto_download: bool,
    as_json: bool,
    trigger: str,
    as_note: bool,
    task_file: Path | None,  # noqa: ARG001 - TaskGroup reads it
) -> None:
    """Keep a ComfyUI host ready: show which workflows run, and what the others lack."""
    if context.invoked_subcommand is None and not (run_cycle or scheduler or list_intake):
        click.echo(context.get_help())
        return
    from comfywatchman.app.session import Session

    session = Session(home, config_file, comfyui_option=comfyui, task=find_reporter(context))
    context.obj = session
    actions = sum((run_cycle, scheduler, bool(list_intake)))
    if context.invoked_subcommand is not None:
        if actions:
            raise click.UsageError("--run-cycle, --scheduler and --list-intake cannot be combined with a command.")
        if context.invoked_subcommand not in LATE_CONFIGURATION:
            # Read here for all commands: one that does not need it would otherwise hide that it is broken.
            _ = session.configuration
        return
    if actions > 1:
        raise click.UsageError("--run-cycle, --scheduler and --list-intake cannot be combined with each other.")
    if run_cycle:
        from comfywatchman.cli.cycle import CycleOptions, run_cycle_command

        options = CycleOptions(as_json=as_json, as_note=as_note, trigger=trigger, auto_download=auto_download)
        context.exit(run_cycle_command(session, options))
    if list_intake:
        from comfywatchman.cli.history import list_intake_command

        context.exit(list_intake_command(session, limit=list_intake, as_json=as_json))
    from comfywatchman.cli.scheduler import scheduler_command

    context.exit(scheduler_command(session))


def run() -> None:
    """Start the program."""
    _run_program(main, "comfywatchman")


def run_gov() -> None:
    """Start `gov`, which is `comfywatchman env`."""
    from comfywatchman.cli.gov.main import gov

    _run_program(gov, "gov")


def run_e3() -> None:
    """Start `e3`, which is `comfywatchman jobs`."""
    from comfywatchman.cli.jobs.main import jobs

    _run_program(jobs, "e3")


def _run_program(command: click.Command, program: str) -> None:
    """Run a command; expected errors become a message and an exit code."""
    from comfywatchman.base.errors import Failure

    _open_closed_streams()
    _escape_unencodable()
    try:
        status = command.main(prog_name=program, standalone_mode=False)
    except Failure as failure:
        from comfywatchman.cli.render import exit_code, print_failure

        print_failure(failure)
        _print_json_error(failure.code, failure.message, failure.hint, failure.facts)
        status = exit_code(failure)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in GLOBAL_OPTIONS:
            click.echo(f"Give {error.option_name} before the command: {program} {error.option_name} …", err=True)
        error.show()
        _print_json_error("usage", error.format_message())
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        _print_json_error("interrupted", "Interrupted.")
        status = 130
    except BrokenPipeError:
        status = 1
    except OSError as error:
        status = _report_write_error(error)
    except Exception as error:  # noqa: BLE001 - the edge of the program: the traceback is printed with a sentence
        status = _report_crash(error)
    # A command that returns nothing has succeeded.
    sys.exit(_flush_output(status if isinstance(status, int) else 0))


def _report_write_error(error: OSError) -> int:
    # An error without a file name is one of standard output; those of files are reported where the files are written.
    if error.errno != errno.ENOSPC or error.filename is not None:
        return _report_crash(error)
    click.echo(f"The output could not be written: {error.strerror}. Free space on its disk.", err=True)
    return 1


def _report_crash(error: Exception) -> int:
    from comfywatchman.cli.render import print_crash

    print_crash(error)
    _print_json_error("broken", f"comfywatchman failed unexpectedly ({type(error).__name__}).")
    return 1


def _print_json_error(
    code: str, message: str, hint: str | None = None, facts: Mapping[str, object] | None = None
) -> None:
    # Not from the parsed options: it may be their parsing that failed.
    if "--json" in itertools.takewhile(lambda argument: argument != "--", sys.argv[1:]):
        from comfywatchman.cli.render import print_error_json

        print_error_json(code, message, hint, facts)


def _open_closed_streams() -> None:
    # The next file opened would get the free descriptor, and output of this program or its children would go into it.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _escape_unencodable() -> None:
    # Characters that the terminal's encoding lacks become escapes; by default printing them raises.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_output(status: int) -> int:
    # Python would flush again at exit, print an error of its own and exit with status 120.
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 1
    return status
