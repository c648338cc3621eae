"""Service files that keep cycles coming: a systemd user service, a systemd timer, or a crontab line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, write_atomic
from comfywatchman.readiness.scheduler.loop import SKIPPED_STATUS

WATCHDOG_SECONDS: Final = 120
"""Silence after which systemd restarts the scheduler, which reports every 5 seconds or oftener."""

_UV_CACHE: Final = re.compile(r"(archive|builds|environments)-v[0-9]+")
_HOUR: Final = 60
_DAY: Final = 24 * _HOUR
_USAGE_STATUS: Final = 2
_INTERRUPTED_STATUS: Final = 130


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A systemd unit: its file name and its text."""

    name: str
    text: str


def build_scheduler_unit(argv: Sequence[str]) -> UnitFile:
    """Return the user service that runs the scheduler.

    Args:
        argv: The program by its absolute path, and its arguments.

    Raises:
        Failure: `service-impossible` when systemd cannot hold one of the arguments.
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


def build_timer_units(
    argv: Sequence[str], *, interval_minutes: float, deadline_minutes: float
) -> tuple[UnitFile, UnitFile]:
    """Return the user service that runs one cycle, and the timer that starts it.

    A timer by the calendar catches up after a suspend or a reboot; an interval that fits no calendar is counted from
    one cycle to the next, and systemd does not count time asleep.

    Args:
        argv: The program by its absolute path, and its arguments.
        interval_minutes: From one cycle to the next.
        deadline_minutes: How long a cycle may take.

    Raises:
        Failure: `service-impossible` when systemd cannot hold one of the arguments.
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
    seconds = round(interval_minutes * 60)
    when = f"OnCalendar={calendar}\nPersistent=true" if calendar else f"OnActiveSec=60\nOnUnitActiveSec={seconds}"
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
    """Return the crontab line that runs one cycle at a time; what the cycle prints is dropped, its errors are mailed.

    Raises:
        Failure: `service-impossible` when cron cannot express the interval, or a line break is in an argument.
    """
    if any(character in word for word in argv for character in "\n\r\0"):
        raise Failure(
            "service-impossible",
            "A crontab line cannot hold a path with a line break.",
            hint="Rename that folder, or use systemd: comfywatchman install-service",
        )
    when = _format_cron_time(interval_minutes)
    if when is None:
        raise Failure(
            "service-impossible",
            f"cron cannot start something every {interval_minutes:g} minutes.",
            hint="Choose minutes that divide an hour, or hours that divide a day; or use systemd.",
        )
    # cron itself reads an unescaped "%" as a line break, before the shell sees its quotes.
    return f"{when} {shlex.join(argv)} >/dev/null".replace("%", "\\%")


def find_temporary_environment(prefix: Path, temporary: Path) -> Path | None:
    """Return the folder of a Python environment that somebody throws away by themselves; None for one that stays.

    `uvx` keeps its environments in uv's cache and `pipx run` in pipx's; both are emptied without asking.

    Args:
        prefix: The environment.
        temporary: The folder of temporary files.
    """
    in_cache = any(part == ".cache" or _UV_CACHE.fullmatch(part) for part in prefix.parts)
    return prefix if in_cache or prefix.is_relative_to(temporary) else None


def write_units(units: Sequence[UnitFile], folder: Path) -> tuple[Path, ...]:
    """Write units into a folder (`~/.config/systemd/user`) and return where they lie.

    Raises:
        Failure: `state-unwritable`.
    """
    paths = tuple(folder / unit.name for unit in units)
    for unit, path in zip(units, paths, strict=True):
        write_atomic(path, unit.text.encode())
    return paths


def list_activation_commands(units: Sequence[UnitFile]) -> tuple[str, ...]:
    """Return the commands that make written units work, also while nobody is logged in."""
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
            f"systemd needs the program by its absolute path, not {program!r}.",
            hint="Run this command by the full path of its Python.",
        )
    # Variables are replaced in arguments only, so only there a dollar must be doubled.
    return " ".join([_quote(program), *(_quote(word).replace("$", "$$") for word in arguments)])


def _quote(word: str) -> str:
    """Quote one word of a command line as systemd.service(5) and systemd.syntax(7) read it."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise Failure(
            "service-impossible",
            f"systemd holds UTF-8 text only, which {printable_path(word)} is not.",
            hint="Rename that folder, or use cron: comfywatchman install-service --cron",
        ) from error
    escaped = "".join(_escape(character) for character in word).replace("%", "%%")
    return escaped if escaped and all(c.isalnum() or c in "/._-=:+@%," for c in escaped) else f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in character.encode())


def _count_whole_hours(minutes: float) -> int | None:
    """Return the hours of an interval that divides a day; None for any other."""
    return int(minutes // _HOUR) if minutes >= _HOUR and minutes % _HOUR == 0 and _DAY % minutes == 0 else None


def _is_divisor_of_hour(minutes: float) -> bool:
    return minutes < _HOUR and minutes == int(minutes) and _HOUR % minutes == 0


def _format_calendar(minutes: float) -> str | None:
    if _is_divisor_of_hour(minutes):
        return f"*:00/{int(minutes):02d}"
    hours = _count_whole_hours(minutes)
    return None if hours is None else f"00/{hours}:00" if minutes < _DAY else "00:00"


def _format_cron_time(minutes: float) -> str | None:
    if _is_divisor_of_hour(minutes):
        return f"*/{int(minutes)} * * * *"
    hours = _count_whole_hours(minutes)
    return None if hours is None else f"0 */{hours} * * *" if minutes < _DAY else "0 0 * * *"
