from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.publisher import ServiceNotifier, StatusPublisher
from comfywatchman.supervisor.restart_policy import RestartPolicy
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus, read_status
from tests.fakes import FakeClock

PROVED = "2026-11-20T12:00:00Z"


@pytest.fixture(params=["", "@"], ids=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket, in the file system and in the abstract namespace."""
    address = f"{request.param}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(5)
        yield address, listener


def build_status(state: SupervisorState, *, proven_at: str | None = None, detail: str = "") -> SupervisorStatus:
    return SupervisorStatus(state, PROVED, PROVED, port=8188, supervisor_pid=1, proven_at=proven_at, detail=detail)


def test_systemd_is_told_of_the_first_proof_once(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    notifier = ServiceNotifier(address)
    received = []
    for status in (
        build_status(SupervisorState.STARTING),
        build_status(SupervisorState.BUSY),
        build_status(SupervisorState.READY, proven_at=PROVED),
        build_status(SupervisorState.READY, proven_at=PROVED),
    ):
        notifier(status)
        received.append(listener.recv(4096).decode().splitlines())
    assert ["READY=1" in lines for lines in received] == [False, False, True, False]
    assert all("WATCHDOG=1" in lines for lines in received)
    assert received[0][-1] == "STATUS=ComfyUI is starting."


@pytest.mark.parametrize(
    ("state", "reason", "is_started"),
    [
        (SupervisorState.GAVE_UP, "", True),
        (SupervisorState.HOST_NEEDS_REBOOT, "", True),
        (SupervisorState.STOPPED, "supervisor-port-taken", True),
        (SupervisorState.STOPPED, "", False),
        (SupervisorState.RECOVERING, "crash", False),
    ],
)
def test_service_is_started_when_the_supervisor_waits_for_a_person(
    manager: tuple[str, socket.socket], state: SupervisorState, reason: str, *, is_started: bool
) -> None:
    address, listener = manager
    ServiceNotifier(address)(replace(build_status(state), reason=reason))
    assert ("READY=1" in listener.recv(4096).decode().splitlines()) == is_started


def test_status_is_renewed_before_it_is_no_longer_believed(metadata: Path) -> None:
    clock = FakeClock()
    publisher = StatusPublisher(metadata, clock, port=8188, policy=RestartPolicy())
    publisher.renew()
    publisher.publish(SupervisorState.SWITCHING, detail="Installing.")
    for awake, is_renewed in ((9.0, False), (2.0, True), (1.0, False)):
        before = publisher.last
        clock.advance(awake=awake)
        publisher.renew()
        assert (publisher.last is not before) == is_renewed
    assert publisher.last is not None
    assert (publisher.last.state, publisher.last.detail) == (SupervisorState.SWITCHING, "Installing.")


def test_text_of_a_state_is_one_line(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    ServiceNotifier(address)(build_status(SupervisorState.STALLED, detail="A node said:\nMAINPID=1"))
    lines = listener.recv(4096).decode().splitlines()
    assert [line.partition("=")[0] for line in lines] == ["WATCHDOG", "STATUS"]
    assert lines[1].endswith("comfywatchman supervise restart")


def test_observers_are_told_even_when_the_disk_is_full(metadata: Path) -> None:
    clock, seen = FakeClock(), list[SupervisorStatus]()
    publisher = StatusPublisher(metadata, clock, port=8188, policy=RestartPolicy(), observers=[seen.append])
    publisher.publish(SupervisorState.STARTING)
    publisher.publish(SupervisorState.STARTING)
    assert [status.state for status in seen] == [SupervisorState.STARTING]
    assert read_status(metadata, clock) is not None
    (metadata / "supervisor_status.json").unlink()
    (metadata / "supervisor_status.json").mkdir()
    with pytest.raises(Failure):
        publisher.publish(SupervisorState.SETTLING)
    assert [status.state for status in seen] == [SupervisorState.STARTING, SupervisorState.SETTLING]
