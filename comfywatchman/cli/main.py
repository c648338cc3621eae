"""The command line: options of the readiness cycle, and the commands, each loaded when it is called."""

from __future__ import annotations

import errno
import io
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from comfywatchman import __version__
from comfywatchman.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from comfywatchman.cli.session import Session

GLOBAL_OPTIONS: Final = frozenset({"--home", "--config", "--comfyui", "--root"})
COMMANDS: Final = {
    "status": "comfywatchman.cli.status:status",
    "scan": "comfywatchman.cli.scan:scan",
    "explain": "comfywatchman.cli.scan:explain",
    "resolve": "comfywatchman.cli.resolve:resolve",
    "inspect": "comfywatchman.cli.inspect:inspect",
    "image": "comfywatchman.cli.image:image",
    "download": "comfywatchman.cli.download:download",
    "duplicates": "comfywatchman.cli.duplicates:duplicates",
    "history": "comfywatchman.cli.history:history",
    "config": "comfywatchman.cli.config:config",
    "install-service": "comfywatchman.cli.service:install_service",
    "env": "comfywatchman.cli.gov.main:gov",
}


SUMMARIES: Final = {
    "status": "Show the last report.",
    "scan": "Judge workflow files without touching any state.",
    "explain": "Show every model and node of one workflow, and why it is or is not ready.",
    "resolve": "Look for missing models, and choose where it is not certain which one is meant.",
    "inspect": "Look into model files: format, header, hashes, warnings.",
    "image": "Show what a picture on Civitai was made with, and what of it this host has.",
    "download": "Fetch missing models: a reviewed plan, some by name, or what was not finished.",
    "duplicates": "List identical models and what linking them would free.",
    "history": "Show the last cycles: when, how long, what came of them.",
    "config": "Show every configuration key, its value and where it came from.",
    "install-service": "Print or write a systemd user service, or a crontab line.",
    "env": "Change the Python environment of ComfyUI as a whole or not at all (the same as gov).",
}


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    summaries=SUMMARIES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration, 75 skipped by a gate, 130 interrupted.",
)
@click.option("--run-cycle", is_flag=True, help="Run one readiness cycle now, unless a gate keeps it from starting.")
@click.option(
    "--scheduler",
    is_flag=True,
    help="Run cycles until stopped: one now, then one every 120 minutes.",
)
@click.option(
    "--list-intake",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=20,
    metavar="[N]",
    help="Show the last N workflow files that came, changed or went (20 without N).",
)
@click.option("--home", type=click.Path(path_type=Path), help="Folder that holds state/, output/ and log/.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A configuration file, read after all others.",
)
@click.option("--comfyui", type=click.Path(path_type=Path), help="Folder of ComfyUI, instead of the configured one.")
@click.option("--auto-download", is_flag=True, help="With --run-cycle: fetch what is FOUND, each proved by its hash.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
@click.option(
    "--trigger",
    type=click.Choice(["manual", "first", "schedule", "cron"]),
    default="manual",
    help="What the cycle is recorded as in the history; service files set it.",
)
@click.option("--note", "as_note", is_flag=True, hidden=True, help="End with one line for the scheduler.")
@click.version_option(__version__, prog_name="comfywatchman")
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
) -> None:
    """Keep a ComfyUI host ready: know which workflows run, and what each of the others lacks."""
    if context.invoked_subcommand is None and not (run_cycle or scheduler or list_intake):
        click.echo(context.get_help())
        return
    from comfywatchman.cli.session import Session

    session = Session(home_option=home, config_option=config_file, comfyui_option=comfyui)
    context.obj = session
    acts = sum((run_cycle, scheduler, bool(list_intake)))
    if context.invoked_subcommand is not None:
        if acts:
            raise click.UsageError("--run-cycle, --scheduler and --list-intake stand alone, without a command.")
        return
    if acts > 1:
        raise click.UsageError("--run-cycle, --scheduler and --list-intake are three different things; give one.")
    if run_cycle:
        from comfywatchman.cli.cycle import CycleOptions, run_cycle_command

        how = CycleOptions(as_json=as_json, as_note=as_note, trigger=trigger, auto_download=auto_download)
        context.exit(run_cycle_command(session, how))
    context.exit(_run_action(session, list_intake=list_intake, as_json=as_json))


def _run_action(session: Session, *, list_intake: int | None, as_json: bool) -> int:
    if list_intake:
        from comfywatchman.cli.history import list_intake_command

        return list_intake_command(session, limit=list_intake, as_json=as_json)
    from comfywatchman.cli.scheduler import scheduler_command

    return scheduler_command(session)


def run() -> None:
    """Start the program."""
    _run_program(main, "comfywatchman")


def run_gov() -> None:
    """Start `gov`, which is `comfywatchman env`."""
    from comfywatchman.cli.gov.main import gov

    _run_program(gov, "gov")


def _run_program(command: click.Command, program: str) -> None:
    """Run a command; expected trouble becomes a message and an exit code, never a traceback."""
    from comfywatchman.base.errors import Failure

    _open_closed_streams()
    _escape_unencodable()
    try:
        status = command.main(prog_name=program, standalone_mode=False)
    except Failure as failure:
        from comfywatchman.cli.render import exit_code, print_failure

        print_failure(failure)
        _print_json_error(failure.code, failure.message, failure.hint)
        status = exit_code(failure)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in GLOBAL_OPTIONS:
            click.echo(f"{error.option_name} stands before the command: {program} {error.option_name} …", err=True)
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
    except Exception as error:  # noqa: BLE001 - the edge of the program: a person gets a sentence, not a traceback
        status = _report_crash(error)
    sys.exit(_flush_output(status if isinstance(status, int) else 0))


def _report_write_error(error: OSError) -> int:
    # Of a full disk a file's own failure is said where it is written; one without a name is that of our output.
    if error.errno != errno.ENOSPC or error.filename is not None:
        return _report_crash(error)
    click.echo(f"The output could not be written: {error.strerror}. Free space where it goes.", err=True)
    return 1


def _report_crash(error: Exception) -> int:
    from comfywatchman.cli.render import print_unexpected

    print_unexpected(error)
    _print_json_error("broken", f"comfywatchman broke ({type(error).__name__}).")
    return 1


def _print_json_error(code: str, message: str, hint: str | None = None) -> None:
    # The options are not at hand: what failed may be their very parsing.
    if "--json" in itertools.takewhile(lambda argument: argument != "--", sys.argv[1:]):
        from comfywatchman.cli.render import print_error_json

        print_error_json(code, message, hint)


def _open_closed_streams() -> None:
    # Else the next file that is opened takes the free number, and what is printed, or a child prints, lands in it.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _escape_unencodable() -> None:
    # A name that the terminal's encoding does not hold is shown as an escape, not as a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_output(status: int) -> int:
    # What could not be written is tried again when Python ends, with a complaint and a status of its own.
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 1
    return status
