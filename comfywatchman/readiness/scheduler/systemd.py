"""Build service files: systemd units for cycles and for the supervisor of ComfyUI, or a crontab line."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, unwritable_failure, write_atomic
from comfywatchman.readiness.scheduler.loop import SKIPPED_STATUS

WATCHDOG_SECONDS: Final = 120
"""Silence after which systemd restarts the scheduler, which reports at least every 5 seconds."""

SUPERVISOR_WATCHDOG_SECONDS: Final = 300
"""The same for the supervisor, in addition to the time of a stop. It reports every 10 seconds, but not while it stops
ComfyUI, nor while it changes production, for which it waits a minute for the lock of the governed root."""

_UV_CACHE: Final = re.compile(r"(archive|builds|environments)-v[0-9]+")
_UNQUOTED: Final = "/._-=:+@%,"
_HOUR: Final = 60  # minutes
_DAY: Final = 24 * _HOUR
_USAGE_STATUS: Final = 2
_INTERRUPTED_STATUS: Final = 130


@dataclass(frozen=True, slots=True)
class UnitFile:
    """File name and text of a systemd unit."""

    name: str
    text: str


def build_scheduler_unit(argv: Sequence[str]) -> UnitFile:
    """Return the user service that runs the scheduler.

    Args:
        argv: The program by its absolute path, and its arguments.

    Raises:
        Failure: `service-impossible` when a unit file cannot contain one of the arguments.
    """
    text = f"""\
[Unit]
Description=comfywatchman: knows which ComfyUI workflows run on this host

[Service]
Type=notify
ExecStart={_format_command(argv)}
Restart=on-failure
RestartSec=60
RestartPreventExitStatus={_USAGE_STATUS}
SuccessExitStatus={_INTERRUPTED_STATUS}
WatchdogSec={WATCHDOG_SECONDS}
TimeoutStopSec=10
Nice=10

[Install]
WantedBy=default.target
"""
    return UnitFile("comfywatchman.service", text)


def build_supervisor_unit(argv: Sequence[str], *, stop_seconds: float, is_kept: bool) -> UnitFile:
    """Return the user service that runs the supervisor of ComfyUI; it counts as started once ComfyUI is proved ready.

    Args:
        argv: The program by its absolute path, and its arguments.
        stop_seconds: How long the supervisor may take to stop ComfyUI.
        is_kept: Whether ComfyUI outlives the supervisor.

    Raises:
        Failure: `service-impossible` when a unit file cannot contain one of the arguments.
    """
    # The supervisor stops ComfyUI by itself; what is left after its limits is killed, unless ComfyUI is to stay.
    kill_mode = "process" if is_kept else "mixed"
    text = f"""\
[Unit]
Description=comfywatchman: keeps ComfyUI running

[Service]
Type=notify
ExecStart={_format_command(argv)}
# The supervisor has limits of its own for a start.
TimeoutStartSec=infinity
TimeoutStopSec={math.ceil(stop_seconds)}
KillMode={kill_mode}
# The supervisor starts a ComfyUI again that the kernel ended for memory; by default, systemd would stop both.
OOMPolicy=continue
Restart=on-failure
RestartSec=10
RestartPreventExitStatus={_USAGE_STATUS}
SuccessExitStatus={_INTERRUPTED_STATUS}
WatchdogSec={SUPERVISOR_WATCHDOG_SECONDS + math.ceil(stop_seconds)}

[Install]
WantedBy=default.target
"""
    return UnitFile("comfywatchman-supervisor.service", text)


def build_timer_units(
    argv: Sequence[str], *, interval_minutes: float, deadline_minutes: float
) -> tuple[UnitFile, UnitFile]:
    """Return the user service that runs one cycle, and the timer that starts it.

    A calendar timer catches up after a suspend or a reboot. An interval that no calendar expression describes becomes
    a monotonic timer, which does not count time asleep.

    Args:
        argv: The program by its absolute path, and its arguments.
        interval_minutes: Time from one cycle to the next.
        deadline_minutes: How long a cycle may take.

    Raises:
        Failure: `service-impossible` when a unit file cannot contain one of the arguments.
    """
    service = f"""\
[Unit]
Description=comfywatchman: one readiness cycle

[Service]
Type=oneshot
ExecStart={_format_command(argv)}
SuccessExitStatus={SKIPPED_STATUS}
TimeoutStartSec={deadline_minutes * 60:.0f}
Nice=10
"""
    calendar = _format_calendar(interval_minutes)
    if calendar is not None:
        when = f"OnCalendar={calendar}\nPersistent=true"
    else:
        when = f"OnActiveSec=60\nOnUnitActiveSec={interval_minutes * 60:.0f}"
    timer = f"""\
[Unit]
Description=comfywatchman: a readiness cycle every {interval_minutes:g} minutes

[Timer]
{when}

[Install]
WantedBy=timers.target
"""
    return UnitFile("comfywatchman-cycle.service", service), UnitFile("comfywatchman-cycle.timer", timer)


def build_cron_line(argv: Sequence[str], *, interval_minutes: float) -> str:
    """Return the crontab line that runs cycles; their standard output is dropped, cron mails their errors.

    Raises:
        Failure: `service-impossible` when cron cannot express the interval, or an argument contains a line break.
    """
    for argument in argv:
        if any(character in argument for character in "\n\r\0"):
            raise Failure(
                "service-impossible",
                "A crontab line cannot contain a path with a line break.",
                hint="Rename that folder, or use systemd: comfywatchman install-service",
            )
    when = _format_cron_time(interval_minutes)
    if when is None:
        raise Failure(
            "service-impossible",
            f"cron cannot express an interval of {interval_minutes:g} minutes.",
            hint="Choose minutes that divide an hour or hours that divide a day, or use systemd.",
        )
    # cron replaces an unescaped "%" by a line break before the shell reads its quotes; see crontab(5).
    return f"{when} {shlex.join(argv)} >/dev/null".replace("%", "\\%")


def find_temporary_environment(prefix: Path, temporary: Path) -> Path | None:
    """Return the folder of a Python environment that will be deleted without notice; None for a lasting one.

    `uvx` keeps its environments in uv's cache and `pipx run` in pipx's; both caches are pruned automatically.

    Args:
        prefix: Folder of the environment.
        temporary: Folder for temporary files.
    """
    is_in_cache = any(part == ".cache" or _UV_CACHE.fullmatch(part) for part in prefix.parts)
    if is_in_cache or prefix.is_relative_to(temporary):
        return prefix
    return None


def write_units(units: Sequence[UnitFile], folder: Path) -> tuple[Path, ...]:
    """Write units into a folder (`~/.config/systemd/user`) and return their paths.

    Raises:
        Failure: `state-unwritable`.
    """
    paths = tuple(folder / unit.name for unit in units)
    for unit, path in zip(units, paths, strict=True):
        write_atomic(path, unit.text.encode())
    return paths


UNIT_NAMES: Final = (
    "comfywatchman.service",
    "comfywatchman-cycle.timer",
    "comfywatchman-cycle.service",
    "comfywatchman-supervisor.service",
)
"""Every unit that this program may have written."""


def list_written_units(folder: Path) -> tuple[str, ...]:
    """Return the names of our units in a folder."""
    return tuple(name for name in UNIT_NAMES if (folder / name).exists())


def remove_units(names: Sequence[str], folder: Path) -> None:
    """Delete units from a folder; one that is gone already is no error.

    Raises:
        Failure: `state-unwritable`.
    """
    for name in names:
        path = folder / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable_failure(path, error, verb="deleted") from error


def list_care_commands(units: Sequence[UnitFile]) -> tuple[tuple[str, str], ...]:
    """Return what a person may want to do with a unit later, each with its command."""
    name = units[-1].name
    return (
        ("See its log", f"journalctl --user --unit {units[0].name} --follow"),
        ("Stop it", f"systemctl --user stop {name}"),
        ("Remove it", "comfywatchman install-service --remove"),
    )


def list_activation_commands(units: Sequence[UnitFile]) -> tuple[str, ...]:
    """Return the commands that activate written units, and keep them active while no user is logged in."""
    return (
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {units[-1].name}",
        "loginctl enable-linger",
    )


def _format_command(argv: Sequence[str]) -> str:
    program, *arguments = argv
    if not program.startswith("/"):
        raise Failure(
            "service-impossible",
            f"systemd needs the absolute path of the program, not {program!r}.",
            hint="Run this command with the full path of its Python.",
        )
    # systemd expands variables in arguments, but not in the program, so only there a dollar must be doubled.
    quoted_arguments = [_quote(argument).replace("$", "$$") for argument in arguments]
    return " ".join([_quote(program), *quoted_arguments])


def _quote(word: str) -> str:
    """Quote one word of a command line for systemd.service(5) and systemd.syntax(7)."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise Failure(
            "service-impossible",
            f"A systemd unit can contain only UTF-8 text, which {printable_path(word)} is not.",
            hint="Rename that folder, or use cron: comfywatchman install-service --cron",
        ) from error
    # "%" starts a specifier in unit files (systemd.unit(5)).
    escaped = "".join(_escape(character) for character in word).replace("%", "%%")
    needs_quotes = not escaped or any(not (c.isalnum() or c in _UNQUOTED) for c in escaped)
    return f'"{escaped}"' if needs_quotes else escaped


def _escape(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def _count_whole_hours(minutes: float) -> int | None:
    """Return the hours of an interval that divides a day; None for any other."""
    if minutes >= _HOUR and minutes % _HOUR == 0 and _DAY % minutes == 0:
        return int(minutes // _HOUR)
    return None


def _is_divisor_of_hour(minutes: float) -> bool:
    return minutes < _HOUR and minutes == int(minutes) and _HOUR % minutes == 0


def _format_calendar(minutes: float) -> str | None:
    """Return an interval as systemd.time(7) calendar expression; None when there is no such expression."""
    if _is_divisor_of_hour(minutes):
        return f"*:00/{int(minutes):02d}"
    hours = _count_whole_hours(minutes)
    if hours is None:
        return None
    if minutes == _DAY:
        return "00:00"
    return f"00/{hours}:00"


def _format_cron_time(minutes: float) -> str | None:
    """Return an interval as the five time fields of crontab(5); None when they cannot express it."""
    if _is_divisor_of_hour(minutes):
        return f"*/{int(minutes)} * * * *"
    hours = _count_whole_hours(minutes)
    if hours is None:
        return None
    if minutes == _DAY:
        return "0 0 * * *"
    return f"0 */{hours} * * *"
