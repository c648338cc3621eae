from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jeepney.low_level import HeaderFields, Message, MessageType, Parser
from jeepney.wrappers import new_error, new_method_return

from comfywatchman.base.errors import Failure
from comfywatchman.base.host import (
    SleepMark,
    detect_sleep,
    is_preparing_for_sleep,
    notify_service_manager,
    read_awake_state,
    read_hostname,
    read_machine_id,
    update_sleep_mark,
    write_sleep_mark,
)
from comfywatchman.base.state.state_file import CorruptFile
from tests.fakes import FakeClock

NO_BUS = Path("/no/such/bus")


def seconds_since_resume(clock: FakeClock, mark: SleepMark) -> float | None:
    return read_awake_state(clock, mark, bus=NO_BUS).seconds_since_resume


def test_machine_that_never_slept_has_no_resume() -> None:
    clock = FakeClock()
    first = detect_sleep(clock, None)
    clock.advance(awake=3600)
    assert seconds_since_resume(clock, detect_sleep(clock, first)) is None


def test_sleep_after_a_recent_mark_ends_now() -> None:
    clock = FakeClock()
    mark = detect_sleep(clock, None)
    clock.advance(asleep=7200, awake=30)
    mark = detect_sleep(clock, mark)
    assert seconds_since_resume(clock, mark) == 0
    clock.advance(awake=45)
    assert seconds_since_resume(clock, detect_sleep(clock, mark)) == 45


def test_sleep_after_an_old_mark_ends_at_that_mark() -> None:
    clock = FakeClock()
    mark = detect_sleep(clock, None)
    clock.advance(asleep=14400, awake=7000)
    assert seconds_since_resume(clock, detect_sleep(clock, mark)) == 7000


def test_second_sleep_is_detected() -> None:
    clock = FakeClock()
    mark = detect_sleep(clock, None)
    for _ in range(2):
        clock.advance(asleep=600, awake=30)
        mark = detect_sleep(clock, mark)
    assert seconds_since_resume(clock, mark) == 0


def test_setting_the_wall_clock_is_not_sleep() -> None:
    clock = FakeClock()
    mark = detect_sleep(clock, None)
    clock.shift_wall(8 * 3600)
    assert seconds_since_resume(clock, detect_sleep(clock, mark)) is None


def test_sleep_of_an_earlier_boot_is_ignored() -> None:
    clock = FakeClock()
    mark = detect_sleep(clock, None)
    clock.advance(asleep=600, awake=30)
    mark = detect_sleep(clock, mark)
    clock.reboot()
    assert seconds_since_resume(clock, detect_sleep(clock, mark)) is None


def test_system_without_boot_id_detects_no_sleep() -> None:
    clock = FakeClock(boot="")
    mark = detect_sleep(clock, None)
    clock.advance(asleep=600, awake=30)
    assert seconds_since_resume(clock, detect_sleep(clock, mark)) is None


def test_mark_is_kept_between_processes(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "awake.json"
    update_sleep_mark(path, clock, bus=NO_BUS)
    clock.advance(asleep=600, awake=50)
    awake, trouble = update_sleep_mark(path, clock, bus=NO_BUS)
    assert (awake.seconds_since_resume, awake.preparing_for_sleep, trouble) == (0, None, None)
    clock.advance(awake=5)
    assert update_sleep_mark(path, clock, bus=NO_BUS)[0].seconds_since_resume == 5


def test_corrupt_mark_is_set_aside(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "awake.json"
    path.write_bytes(b'{"boot_id": 7')
    awake, trouble = update_sleep_mark(path, clock, bus=NO_BUS)
    assert awake.seconds_since_resume is None
    assert isinstance(trouble, CorruptFile)
    assert trouble.moved_to is not None
    assert trouble.moved_to.read_bytes() == b'{"boot_id": 7'
    assert update_sleep_mark(path, clock, bus=NO_BUS)[1] is None


@pytest.mark.parametrize(
    "changed", [{"resumed_monotonic": 5000.0}, {"seen_monotonic": 5000.0}, {"slept_seconds": 5000.0}]
)
def test_mark_of_a_time_to_come_is_set_aside(tmp_path: Path, changed: dict[str, float]) -> None:
    clock, path = FakeClock(), tmp_path / "awake.json"
    write_sleep_mark(path, msgspec.structs.replace(detect_sleep(clock, None), **changed))
    awake, trouble = update_sleep_mark(path, clock, bus=NO_BUS)
    assert awake.seconds_since_resume is None
    assert isinstance(trouble, CorruptFile)
    assert (tmp_path / "awake.json.damaged-1").exists()
    assert update_sleep_mark(path, clock, bus=NO_BUS)[1] is None


def test_mark_of_an_earlier_boot_may_be_ahead_of_the_clock(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "awake.json"
    write_sleep_mark(path, msgspec.structs.replace(detect_sleep(clock, None), resumed_monotonic=900.0))
    clock.reboot()
    assert update_sleep_mark(path, clock, bus=NO_BUS)[1] is None


def test_unwritable_mark_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    awake, trouble = update_sleep_mark(tmp_path / "file" / "awake.json", FakeClock(), bus=NO_BUS)
    assert awake.seconds_since_resume is None
    assert isinstance(trouble, CorruptFile | Failure)


class Bus:
    """A system bus with a logind on it, as far as one question goes."""

    def __init__(self, path: Path, answer: Any) -> None:
        self.answer = answer
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()

    def serve(self) -> None:
        connection, _ = self.server.accept()
        with connection, contextlib.suppress(ConnectionError):
            self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        parser, greeting = Parser(), b""
        while block := connection.recv(4096):
            if self.answer == "deaf":
                continue
            if b"BEGIN" not in greeting:
                greeting += block
                if b"AUTH" in block:
                    connection.sendall(b"REJECTED\r\n" if self.answer == "rejects" else b"OK 1234\r\n")
                block = greeting.partition(b"BEGIN\r\n")[2]
            for number, message in enumerate(parser.feed(block), 1):
                if self.answer == "hangs up":
                    return
                if self.answer != "mute":
                    connection.sendall(self.serialised(message, number))

    def serialised(self, message: Message, number: int) -> bytes:
        return b"no D-Bus message" * 4 if self.answer == "garbage" else self.reply(message).serialise(serial=number)

    def reply(self, message: Message) -> Message:
        if message.header.fields[HeaderFields.member] == "Hello":
            return new_method_return(message, "s", (":1.1",))
        assert message.header.message_type == MessageType.method_call
        assert message.body == ("org.freedesktop.login1.Manager", "PreparingForSleep")
        if self.answer == "error":
            return new_error(message, "org.freedesktop.DBus.Error.ServiceUnknown", "s", ("no logind",))
        return new_method_return(message, "v", (self.answer,))


@contextlib.contextmanager
def bus_that_answers(path: Path, answer: Any) -> Iterator[Path]:
    bus = Bus(path, answer)
    thread = threading.Thread(target=bus.serve)
    thread.start()
    try:
        yield path
    finally:
        thread.join(60)
        bus.server.close()
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("b", True), True),
        (("b", False), False),
        (("s", "yes"), None),
        ("error", None),
        ("rejects", None),
        ("hangs up", None),
        ("garbage", None),
    ],
    ids=str,
)
def test_logind_reports_whether_the_machine_is_about_to_sleep(tmp_path: Path, answer: Any, expected: object) -> None:
    with bus_that_answers(tmp_path / "bus", answer) as bus:
        assert is_preparing_for_sleep(bus=bus, timeout_seconds=60) is expected


@pytest.mark.parametrize("answer", ["deaf", "mute"])
def test_silent_bus_is_left_after_the_time_limit(tmp_path: Path, answer: str) -> None:
    began = time.monotonic()
    with bus_that_answers(tmp_path / "bus", answer) as bus:
        assert is_preparing_for_sleep(bus=bus, timeout_seconds=0.1) is None
    assert time.monotonic() - began < 40


def test_missing_bus_gives_none() -> None:
    assert is_preparing_for_sleep(bus=NO_BUS) is None


def test_dead_bus_socket_gives_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unserved:
        unserved.bind(str(tmp_path / "bus"))
    assert is_preparing_for_sleep(bus=tmp_path / "bus") is None


@pytest.mark.parametrize("abstract", ["", "@"])
def test_service_manager_gets_a_notification(tmp_path: Path, abstract: str) -> None:
    address = f"{abstract}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        assert notify_service_manager("READY=1\nSTATUS=waiting", address=address)
        assert listener.recv(100) == b"READY=1\nSTATUS=waiting"


@pytest.mark.parametrize("address", [None, "", "/no/such/socket"])
def test_missing_service_manager_gets_no_notification(address: str | None) -> None:
    assert not notify_service_manager("READY=1", address=address)


def test_machine_id_is_stable_and_not_the_system_one(tmp_path: Path) -> None:
    file = tmp_path / "machine-id"
    file.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    machine = read_machine_id(file)
    assert machine == read_machine_id(file)
    assert "3d1219c7" not in machine
    file.write_text("0" * 32)
    assert read_machine_id(file) != machine


def test_machine_without_id_has_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    assert read_machine_id(tmp_path / "empty") == read_machine_id(tmp_path / "absent") == ""


def test_hostname_is_that_of_the_system() -> None:
    assert read_hostname() == socket.gethostname()
