"""This machine: its identity, its sleep (suspend and resume), and messages to its service manager."""

from __future__ import annotations

import hashlib
import hmac
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.state.ranges import Seconds
from comfywatchman.base.state.state_file import CorruptFile, read_state, set_aside, write_state

SYSTEM_BUS: Final = Path("/run/dbus/system_bus_socket")

MACHINE_ID_FILE: Final = Path("/etc/machine-id")
_APPLICATION: Final = b"comfywatchman"
_MAX_MACHINE_ID_BYTES: Final = 256

_MIN_SLEEP_SECONDS: Final = 1.0
"""Growth of CLOCK_BOOTTIME over CLOCK_MONOTONIC that counts as sleep; without sleep they drift by microseconds."""

_MAX_UNWATCHED_SECONDS: Final = 90.0
"""Longest waking time between two marks for which the end of a sleep is taken to be now; see `detect_sleep`."""


class SleepMark(msgspec.Struct, frozen=True):
    """The last known state of the machine's sleep (`state/awake.json`).

    Attributes:
        boot_id: The boot that the other fields belong to; after a reboot they are meaningless.
        slept_seconds: Sleep of this boot so far: CLOCK_BOOTTIME minus CLOCK_MONOTONIC.
        seen_monotonic: CLOCK_MONOTONIC when the mark was taken.
        resumed_monotonic: CLOCK_MONOTONIC at the end of the last sleep; null when none was detected.
        schema_version: Version of this shape.
    """

    boot_id: str
    # The two clocks are read one after the other, so without any sleep it may be a little below 0.
    slept_seconds: Annotated[float, msgspec.Meta(ge=-1, le=1e10)]
    seen_monotonic: Seconds
    resumed_monotonic: Seconds | None = None
    schema_version: Literal[1] = 1


_REQUEST_SERIAL: Final = 2
"""Serial number of our request on the bus; the Hello message has 1."""


@dataclass(frozen=True, slots=True)
class AwakeState:
    """Whether the machine has just woken up or is about to sleep.

    Attributes:
        seconds_since_resume: How long it has been awake after its last sleep; None when no sleep is known.
        preparing_for_sleep: Whether it is about to sleep; None when that is not known.
    """

    seconds_since_resume: float | None
    preparing_for_sleep: bool | None


def read_machine_id(path: Path = MACHINE_ID_FILE) -> str:
    """Return an id of this machine that survives reboots and renaming; empty where it has none (many containers)."""
    try:
        text = read_regular(path, max_bytes=_MAX_MACHINE_ID_BYTES).strip()
    except Failure:
        return ""
    # machine-id(5): the id itself is confidential, so programs store a keyed hash of it.
    return hmac.new(text, _APPLICATION, hashlib.sha256).hexdigest() if text else ""


def read_hostname() -> str:
    """Return the name of this machine, for people."""
    return socket.gethostname()


def detect_sleep(clock: Clock, last: SleepMark | None) -> SleepMark:
    """Detect sleep by comparing the clocks with the last mark: CLOCK_BOOTTIME counts it, CLOCK_MONOTONIC does not.

    The end of a detected sleep is not known exactly. With a recent mark (a running scheduler) it is taken to be now, so
    that a grace period counted from it is never too short. With an old mark (cycles started by a timer) it is taken to
    be the time of that mark; otherwise every cycle that follows a sleep would be skipped.
    """
    monotonic = clock.monotonic()
    boot_id = clock.boot_id()
    slept = clock.boottime() - monotonic
    resumed = None
    if last is not None and boot_id and last.boot_id == boot_id:
        resumed = last.resumed_monotonic
        if slept - last.slept_seconds > _MIN_SLEEP_SECONDS:
            is_recent = monotonic - last.seen_monotonic <= _MAX_UNWATCHED_SECONDS
            resumed = monotonic if is_recent else last.seen_monotonic
    return SleepMark(boot_id=boot_id, slept_seconds=slept, seen_monotonic=monotonic, resumed_monotonic=resumed)


def read_awake_state(clock: Clock, mark: SleepMark, *, bus: Path = SYSTEM_BUS) -> AwakeState:
    """Return how long the machine has been awake according to a mark just taken, and whether it is about to sleep."""
    since_resume = None
    if mark.resumed_monotonic is not None:
        since_resume = clock.monotonic() - mark.resumed_monotonic
    return AwakeState(seconds_since_resume=since_resume, preparing_for_sleep=is_preparing_for_sleep(bus=bus))


def update_sleep_mark(
    path: Path, clock: Clock, *, bus: Path = SYSTEM_BUS
) -> tuple[AwakeState, CorruptFile | Failure | None]:
    """Detect sleep since the mark in a file, write the new mark there, and return the machine's state.

    Returns:
        The state, and the problem with the file: it was corrupt and set aside, or it could not be written.
    """
    problem: CorruptFile | Failure | None = None
    last = read_sleep_mark(path, clock)
    if isinstance(last, CorruptFile):
        problem, last = last, None
    mark = detect_sleep(clock, last)
    try:
        write_sleep_mark(path, mark)
    except Failure as failure:
        problem = problem or failure
    return read_awake_state(clock, mark, bus=bus), problem


def read_sleep_mark(path: Path, clock: Clock) -> SleepMark | CorruptFile | None:
    """Read a mark; one with a time of this boot that is still to come is damaged and set aside."""
    mark = read_state(path, SleepMark)
    if not isinstance(mark, SleepMark) or mark.boot_id != clock.boot_id():
        return mark
    latest = max(mark.seen_monotonic, mark.resumed_monotonic or 0.0)
    # Believed, such a mark would skip every cycle until the clock has caught up with it.
    if latest <= clock.monotonic() and mark.slept_seconds <= clock.boottime():
        return mark
    return CorruptFile(path=path, moved_to=set_aside(path), reason="it holds a time that is still to come")


def write_sleep_mark(path: Path, mark: SleepMark) -> None:
    """Write a mark for the next call.

    Raises:
        Failure: `state-newer`, `state-unwritable`.
    """
    write_state(path, mark, is_lasting=False)


def is_preparing_for_sleep(*, bus: Path = SYSTEM_BUS, timeout_seconds: float = 0.3) -> bool | None:
    """Return whether the machine is about to sleep; None when there is no logind or it does not answer in time.

    The property is `PreparingForSleep` of `org.freedesktop.login1.Manager` (org.freedesktop.login1(5)).
    """
    if not bus.exists():
        return None
    try:
        return _query_logind(bus, timeout_seconds)
    except (OSError, ValueError, LookupError, RuntimeError):
        # The last three are jeepney's, for messages it cannot parse.
        return None


def _query_logind(bus: Path, timeout_seconds: float) -> bool | None:
    """Say Hello to the bus and read the property, with a time limit on every wait."""
    # Not jeepney's open_dbus_connection: its Hello waits without a limit.
    from jeepney import DBusAddress, Properties
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import prep_socket
    from jeepney.low_level import HeaderFields, MessageFlag, Parser

    login = DBusAddress("/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager")
    request = Properties(login).get("PreparingForSleep")
    # Where logind does not run, asking must not start it.
    request.header.flags |= MessageFlag.no_auto_start
    parser = Parser()
    with prep_socket(str(bus), timeout=timeout_seconds) as connection:
        connection.settimeout(timeout_seconds)
        connection.sendall(message_bus.Hello().serialise(serial=1) + request.serialise(serial=_REQUEST_SERIAL))
        while block := connection.recv(4096):
            for message in parser.feed(block):
                if message.header.fields.get(HeaderFields.reply_serial) == _REQUEST_SERIAL:
                    return _unwrap_boolean(message.body)
    return None


def _unwrap_boolean(body: object) -> bool | None:
    """Return the value of a D-Bus variant, which arrives as a signature and a value; None for an error reply."""
    match body:
        case (("b", bool(value)),):
            return value
        case _:
            return None


def notify_service_manager(text: str, *, address: str | None) -> bool:
    """Send a notification as in sd_notify(3) (`READY=1`, `WATCHDOG=1`, `STOPPING=1`); return whether it was sent.

    Args:
        text: The assignments, one per line.
        address: The value of `NOTIFY_SOCKET`; None or empty without a service manager.
    """
    if not address:
        return False
    # A leading @ stands for the NUL of a socket in the abstract namespace.
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(text.encode(), target)
    except OSError:
        return False
    return True
