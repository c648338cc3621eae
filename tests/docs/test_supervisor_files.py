"""What supervisor-files.md says against the files and fields that the program has."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.lock import LockHolder
from comfywatchman.supervisor import lock, mailbox, process_files
from comfywatchman.supervisor.mailbox import CommandName, SwitchState
from comfywatchman.supervisor.panel.install import PanelFile
from comfywatchman.supervisor.panel.pack.routes import Panel

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "supervisor-files.md").read_text("utf-8")
FILES = (
    mailbox.SWITCH_REQUEST,
    mailbox.SWITCH_STATUS,
    mailbox.COMMAND,
    process_files.STARTUP_STATE,
    process_files.ORCHESTRATOR_PID,
    process_files.HEARTBEAT,
    process_files.CONTROL_PORT,
    process_files.CONTROL_TOKEN,
    process_files.ORCHESTRATOR_LOG,
    lock.SWITCH_LOCK,
    lock.SWITCH_FLOCK,
)
SHAPES: dict[str, type[msgspec.Struct]] = {
    ".switch_request.json": mailbox.SwitchRequest,
    ".switch_status.json": mailbox.SwitchStatus,
    ".switch.lock": LockHolder,
    ".cmd": mailbox.SupervisorCommand,
    ".orchestrator.pid": process_files.Heartbeat,
    ".startup_state.json": process_files.StartupState,
    "The panel": PanelFile,
}


def section(name: str) -> str:
    parts = [part for part in TEXT.split("\n## ")[1:] if name in part.splitlines()[0]]
    assert len(parts) == 1, name
    return parts[0]


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_section(name: str) -> None:
    assert section(f"`{name}`")


@pytest.mark.parametrize("name", SHAPES)
def test_every_field_is_described(name: str) -> None:
    text = section(name)
    for field in SHAPES[name].__struct_fields__:
        assert field == "schema_version" or f"`{field}`" in text, field


@pytest.mark.parametrize("state", SwitchState)
def test_every_state_of_a_switch_is_named(state: SwitchState) -> None:
    assert f"`{state.value}`" in section(".switch_status.json")


@pytest.mark.parametrize("command", CommandName)
def test_every_command_is_named(command: CommandName) -> None:
    assert f"`{command.value}`" in section("`.cmd`")


def test_every_route_is_named() -> None:
    text = section("The panel").replace("`…/", "`GET /v2/comfygit/orchestrator/")
    for method, path, _handler in Panel(None, None).routes():  # type: ignore[arg-type]
        assert f"`{method} {path}`" in text, path
