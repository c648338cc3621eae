"""What this machine is doing: awake, and since when; and what its service manager is told."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, read_state, to_json, write_atomic

SYSTEM_BUS: Final = Path("/run/dbus/system_bus_socket")

_MIN_SLEEP_SECONDS: Final = 1.0
"""Growth of CLOCK_BOOTTIME over CLOCK_MONOTONIC that counts as sleep; two readings of them differ by microseconds."""

_MAX_UNWATCHED_SECONDS: Final = 90.0
"""Waking time between two looks up to which the machine counts as watched, so that sleep is noticed as it ends."""


class SleepMark(msgspec.Struct, frozen=True):
    """What was last known about the machine's sleep (`state/awake.json`).

    Attributes:
        boot_id: The boot that the other fields belong to; they mean nothing in another one.
        slept_seconds: Sleep of this boot so far: CLOCK_BOOTTIME minus CLOCK_MONOTONIC.
        seen_monotonic: When that was read, by CLOCK_MONOTONIC.
        resumed_monotonic: When the last sleep ended, by CLOCK_MONOTONIC; null while none was noticed.
        schema_version: Version of this shape.
    """

    boot_id: str
    slept_seconds: float
    seen_monotonic: float
    resumed_monotonic: float | None = None
    schema_version: int = 1


_REQUEST_SERIAL: Final = 2
"""Serial number of the question on the bus; the greeting has 1."""


@dataclass(frozen=True, slots=True)
class AwakeState:
    """Whether the machine has just woken up or is about to sleep.

    Attributes:
        seconds_since_resume: How long it has been awake after its last sleep; None when no sleep is known.
        preparing_for_sleep: Whether it is about to sleep; None when nobody can tell.
    """

    seconds_since_resume: float | None
    preparing_for_sleep: bool | None


def detect_sleep(clock: Clock, last: SleepMark | None) -> SleepMark:
    """Compare the clocks with what they said at the last look; sleep is what one counts and the other does not.

    When somebody looked a moment before the sleep was noticed, its end is taken to be now, so that a grace counted
    from it is never too short. When nobody had looked for longer (a cycle started by a timer), its end is taken to be
    at the last look, so that such cycles are not turned away each time the machine has slept in between.
    """
    monotonic, boot_id = clock.monotonic(), clock.boot_id()
    slept = clock.boottime() - monotonic
    resumed = None
    if last is not None and boot_id and last.boot_id == boot_id:
        resumed = last.resumed_monotonic
        if slept - last.slept_seconds > _MIN_SLEEP_SECONDS:
            watched = monotonic - last.seen_monotonic <= _MAX_UNWATCHED_SECONDS
            resumed = monotonic if watched else last.seen_monotonic
    return SleepMark(boot_id=boot_id, slept_seconds=slept, seen_monotonic=monotonic, resumed_monotonic=resumed)


def read_awake_state(clock: Clock, mark: SleepMark, *, bus: Path = SYSTEM_BUS) -> AwakeState:
    """Say how long the machine has been awake by a mark just taken, and ask logind whether it is about to sleep."""
    resumed = mark.resumed_monotonic
    return AwakeState(
        seconds_since_resume=None if resumed is None else clock.monotonic() - resumed,
        preparing_for_sleep=preparing_for_sleep(bus=bus),
    )


def update_sleep_mark(
    path: Path, clock: Clock, *, bus: Path = SYSTEM_BUS
) -> tuple[AwakeState, CorruptFile | Failure | None]:
    """Look for sleep against the mark in a file, write the new mark there and say what was seen.

    Returns:
        What was seen, and what was wrong with the file: it was damaged and set aside, or it could not be written.
    """
    last = read_state(path, SleepMark)
    trouble: CorruptFile | Failure | None = last if isinstance(last, CorruptFile) else None
    mark = detect_sleep(clock, None if isinstance(last, CorruptFile) else last)
    try:
        write_sleep_mark(path, mark)
    except Failure as failure:
        trouble = failure
    return read_awake_state(clock, mark, bus=bus), trouble


def write_sleep_mark(path: Path, mark: SleepMark) -> None:
    """Write a mark for the next look.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(path, to_json(mark), is_lasting=False)


def preparing_for_sleep(*, bus: Path = SYSTEM_BUS, timeout_seconds: float = 0.3) -> bool | None:
    """Ask logind whether the machine is about to sleep; None where there is no logind or it does not answer in time.

    The property is `PreparingForSleep` of `org.freedesktop.login1.Manager` (org.freedesktop.login1(5)).
    """
    if not bus.exists():
        return None
    try:
        return _query_logind(bus, timeout_seconds)
    except (OSError, ValueError, LookupError, RuntimeError):
        return None


def _query_logind(bus: Path, timeout_seconds: float) -> bool | None:
    """Greet the bus and ask, with a limit on every wait (jeepney's own connection greets without one)."""
    from jeepney import DBusAddress, Properties
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import prep_socket
    from jeepney.low_level import HeaderFields, MessageFlag, Parser

    login = DBusAddress("/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager")
    question = Properties(login).get("PreparingForSleep")
    question.header.flags |= MessageFlag.no_auto_start
    parser = Parser()
    with prep_socket(str(bus), timeout=timeout_seconds) as connection:
        connection.settimeout(timeout_seconds)
        connection.sendall(message_bus.Hello().serialise(serial=1) + question.serialise(serial=_REQUEST_SERIAL))
        while block := connection.recv(4096):
            for message in parser.feed(block):
                if message.header.fields.get(HeaderFields.reply_serial) == _REQUEST_SERIAL:
                    return _unwrap_boolean(message.body)
    return None


def _unwrap_boolean(answer: object) -> bool | None:
    """Take the value out of a D-Bus variant, which arrives as a signature and a value; an error is none."""
    match answer:
        case (("b", bool(value)),):
            return value
        case _:
            return None


def notify_service_manager(text: str, *, address: str | None) -> bool:
    """Send one notification (`READY=1`, `WATCHDOG=1`, `STOPPING=1`) as sd_notify(3) describes; say whether it went.

    Args:
        text: The assignments, one on each line.
        address: The value of `NOTIFY_SOCKET`; None or empty where no service manager listens. A leading `@` names a
            socket of the abstract namespace.
    """
    if not address:
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(text.encode(), target)
    except OSError:
        return False
    return True
