"""Switch request, switch status and commands: between real processes, and against damaged files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.mailbox import (
    CommandName,
    SwitchRequest,
    SwitchState,
    cleanup_stale_temp_files,
    cleanup_switch_request,
    cleanup_switch_status,
    read_switch_request,
    read_switch_status,
    take_command,
    write_command,
    write_switch_request,
    write_switch_status,
)
from comfywatchman.supervisor.metadata import MAX_STATE_BYTES
from comfywatchman.supervisor.process_files import (
    read_control_port,
    read_control_token,
    read_heartbeat,
    read_orchestrator_pid,
    read_startup_state,
)
from tests.children import KILLED, in_child
from tests.fakes import FakeClock
from tests.supervisor.workspace_builders import StateFileBuilder

NOW = FakeClock().wall.timestamp()

READERS: list[tuple[str, Callable[[Path], object]]] = [
    (".switch_request.json", read_switch_request),
    (".switch_status.json", read_switch_status),
    (".startup_state.json", read_startup_state),
    (".orchestrator.heartbeat", read_heartbeat),
    (".orchestrator.pid", read_orchestrator_pid),
    (".control_port", read_control_port),
    (".control_token", read_control_token),
    (".cmd", take_command),
]

UNUSABLE: dict[str, bytes] = {
    "empty": b"",
    "torn": b'{"target_env": "dev", "timest',
    "binary": bytes(range(256)),
    "null": b"null",
    "list": b"[1, 2]",
    "text": b'"restart"',
    "deep": b"[" * 100_000,
    "no-fields": b"{}",
    "wrong-types": b'{"target_env": 5, "timestamp": "now", "state": 3, "progress": "x", "command": 1, "pid": "1"}',
    "surrogate": b'{"target_env": "\\ud800", "timestamp": 1.0}',
    "huge-number": b"9" * 5000,
    "negative-number": b"-1",
    "float": b"80.5",
    "zero": b"0",
}


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_file_reads_as_none(metadata: Path, name: str, read: Callable[[Path], object], content: bytes) -> None:
    (metadata / name).write_bytes(content)
    assert read(metadata) is None


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_file_that_is_not_regular_reads_as_none(metadata: Path, name: str, read: Callable[[Path], object]) -> None:
    path = metadata / name
    os.mkfifo(path)
    assert read(metadata) is None
    path.unlink(missing_ok=True)
    path.mkdir()
    assert read(metadata) is None
    if path.exists():
        path.rmdir()
    path.symlink_to("/dev/zero")
    assert read(metadata) is None
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    assert read(metadata) is None


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_huge_file_reads_as_none(metadata: Path, name: str, read: Callable[[Path], object]) -> None:
    with (metadata / name).open("wb") as stream:
        stream.truncate(1 << 40)
    started = time.monotonic()
    assert read(metadata) is None
    (metadata / name).write_bytes(b" " * (MAX_STATE_BYTES + 1))
    assert read(metadata) is None
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("read", [read for _, read in READERS])
def test_missing_folder_reads_as_none(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert read(tmp_path / "absent") is None
    (tmp_path / "file").write_bytes(b"")
    assert read(tmp_path / "file") is None


def test_write_switch_request(metadata: Path) -> None:
    write_switch_request(metadata, "dev", source_env="main", clock=FakeClock())
    content = orjson.loads((metadata / ".switch_request.json").read_bytes())
    assert content == {"target_env": "dev", "source_env": "main", "timestamp": NOW}


def test_read_switch_request(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch_request.json", {"target_env": "dev", "timestamp": 1700000000.5, "more": [1]})
    assert read_switch_request(metadata) == SwitchRequest("dev", 1700000000.5)


def test_read_switch_request_missing_file(metadata: Path) -> None:
    assert read_switch_request(metadata) is None


def test_read_switch_request_invalid_json(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch_request.json", b"{invalid json")
    assert read_switch_request(metadata) is None


@pytest.mark.parametrize("target", ["", "x" * 256, None])
def test_switch_request_without_target_is_invalid(
    metadata: Path, foreign: StateFileBuilder, target: str | None
) -> None:
    foreign.write(".switch_request.json", {"target_env": target, "timestamp": 1.0})
    assert read_switch_request(metadata) is None


def test_cleanup_switch_request(metadata: Path) -> None:
    write_switch_request(metadata, "dev")
    cleanup_switch_request(metadata)
    cleanup_switch_request(metadata)
    assert list(metadata.iterdir()) == []


def test_write_switch_status(metadata: Path) -> None:
    write_switch_status(metadata, SwitchState.SYNCING, 30, "Installing", target_env="dev", clock=FakeClock())
    content = orjson.loads((metadata / ".switch_status.json").read_bytes())
    assert (content["state"], content["progress"], content["message"]) == ("syncing", 30, "Installing")
    assert (content["updated_at"], content["target_env"], content["error"]) == (NOW, "dev", None)


def test_write_switch_status_with_error(metadata: Path) -> None:
    state = SwitchState.CRITICAL_FAILURE
    write_switch_status(metadata, state, 100, "Nothing runs", source_env="main", error="port taken")
    status = read_switch_status(metadata)
    assert status is not None
    assert (status.state, status.error, status.source_env) == (state, "port taken", "main")


def test_read_switch_status(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch_status.json", {"state": "validating", "progress": 80, "message": "…", "updated_at": 1.5})
    status = read_switch_status(metadata)
    assert status is not None
    assert (status.state, status.progress, status.updated_at) == (SwitchState.VALIDATING, 80, 1.5)


def test_unknown_switch_state_is_kept_as_unknown(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch_status.json", {"state": "dancing", "progress": 80, "message": "", "updated_at": 1.5})
    status = read_switch_status(metadata)
    assert status is not None
    assert status.state is SwitchState.UNKNOWN


def test_cleanup_switch_status(metadata: Path) -> None:
    write_switch_status(metadata, SwitchState.COMPLETE, 100, "Done")
    cleanup_switch_status(metadata)
    assert read_switch_status(metadata) is None
    cleanup_switch_status(metadata)


def test_command_is_taken_once(metadata: Path) -> None:
    write_command(metadata, CommandName.RESTART, reason="asked by a person", clock=FakeClock())
    command = take_command(metadata)
    assert command is not None
    assert (command.command, command.reason, command.pid, command.timestamp) == (
        CommandName.RESTART,
        "asked by a person",
        os.getpid(),
        NOW,
    )
    assert take_command(metadata) is None
    assert list(metadata.iterdir()) == []


def test_command_replaces_one_that_was_not_taken(metadata: Path) -> None:
    write_command(metadata, CommandName.RESTART)
    write_command(metadata, CommandName.SHUTDOWN)
    command = take_command(metadata)
    assert command is not None
    assert command.command is CommandName.SHUTDOWN


def test_switch_command_needs_a_target(metadata: Path) -> None:
    write_command(metadata, CommandName.SWITCH)
    assert take_command(metadata) is None
    write_command(metadata, CommandName.SWITCH, target_env="dev")
    command = take_command(metadata)
    assert command is not None
    assert command.target_env == "dev"


def test_unusable_command_is_deleted(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".cmd", {"command": "format_disk", "timestamp": 1.0})
    assert take_command(metadata) is None
    assert list(metadata.iterdir()) == []


def test_folder_in_place_of_the_command_blocks_no_later_one(metadata: Path) -> None:
    (metadata / ".cmd").mkdir()
    assert take_command(metadata) is None
    with pytest.raises(Failure):
        write_command(metadata, CommandName.RESTART)
    (metadata / ".cmd").rmdir()
    write_command(metadata, CommandName.RESTART)
    assert take_command(metadata) is not None


def test_comfygit_command_is_understood(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".cmd", {"command": "abort_switch", "timestamp": 1, "reason": "user", "pid": 7})
    command = take_command(metadata)
    assert command is not None
    assert command.command is CommandName.ABORT_SWITCH


def test_cleanup_stale_temp_files(metadata: Path, foreign: StateFileBuilder) -> None:
    dead = 4194304  # the largest pid a kernel may be set to give is one less
    for name in (f".cmd.tmp.{dead}", f".cmd.taken.{dead}", "..cmd.abc.tmp"):
        foreign.write(name, b"{}")
    mine = foreign.write(f".cmd.tmp.{os.getpid()}", b"{}")
    other = foreign.write(".cmd.tmp.notes", b"a person's")
    assert cleanup_stale_temp_files(metadata) == 3
    assert set(metadata.iterdir()) == {mine, other}


def test_unwritable_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failure) as caught:
        write_switch_request(tmp_path / "file" / ".metadata", "dev")
    assert caught.value.code == "state-unwritable"


KILL_WRITERS = """
import os, sys
from pathlib import Path
from comfywatchman.supervisor import mailbox, process_files as files
writers = [
    lambda m: mailbox.write_switch_request(m, "new"),
    lambda m: mailbox.write_switch_status(m, mailbox.SwitchState.FAILED, 100, "new"),
    lambda m: mailbox.write_command(m, mailbox.CommandName.SHUTDOWN),
    lambda m: files.write_heartbeat(m, uptime=9.0),
    lambda m: files.write_orchestrator_pid(m),
    lambda m: files.write_control_port(m, 5099),
    lambda m: files.write_control_token(m, "new"),
    lambda m: files.write_startup_state(m, python_executable="/new", working_directory="/", argv=[],
                                        environment_name=None, workspace_root=None, port=1),
]
for writer in writers:
    child = os.fork()
    if child == 0:
        writer(Path(sys.argv[1]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_killed_writers_leave_the_old_files(metadata: Path) -> None:
    request = write_switch_request(metadata, "old")

    result = in_child(KILL_WRITERS, metadata, failpoints="files.before_rename=kill")

    assert result.stdout.split() == [str(KILLED)] * 8, result.stderr
    assert [path.name for path in metadata.iterdir() if not path.name.endswith(".tmp")] == [".switch_request.json"]
    assert read_switch_request(metadata) == request
    assert cleanup_stale_temp_files(metadata) == 8
    assert len(list(metadata.iterdir())) == 1
