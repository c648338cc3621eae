from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from comfywatchman.base.clock import SystemClock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.cli.supervise.queue import WaitSettings, settle_queue
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, write_status

CLOCK = SystemClock()
ENDING = (CommandName.RESTART, CommandName.SHUTDOWN, CommandName.SWITCH)


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def published(metadata: Path, queue_length: int | None) -> Iterator[None]:
    """Publish a number of prompts in the name of this process, for a ComfyUI that does not answer."""
    now = format_utc(CLOCK.now())
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        status = SupervisorStatus(
            SupervisorState.BUSY,
            now,
            now,
            port=find_free_port(),
            supervisor_pid=os.getpid(),
            pid=os.getpid(),
            queue_length=queue_length,
            boot_id=CLOCK.boot_id(),
            looked_at_seconds=CLOCK.boottime(),
        )
        write_status(metadata, status)
        yield


def settle(
    metadata: Path, command: CommandName, *, now: bool = False, wait_queue: bool = False, timeout_seconds: float = 0
) -> PromptPolicy:
    settings = WaitSettings(timeout_seconds, is_shown=False)
    return settle_queue(metadata, CLOCK, command, settings, now=now, wait_queue=wait_queue)


@pytest.mark.parametrize("command", ENDING)
def test_command_refuses_to_end_prompts(metadata: Path, command: CommandName) -> None:
    with published(metadata, 2):
        with pytest.raises(Failure, match="2 prompts run or wait") as caught:
            settle(metadata, command)
        assert caught.value.code == "supervisor-queue-not-empty"
        assert settle(metadata, command, now=True) is PromptPolicy.END


@pytest.mark.parametrize("command", ENDING)
def test_empty_queue_needs_no_option(metadata: Path, command: CommandName) -> None:
    with published(metadata, 0):
        assert settle(metadata, command) is PromptPolicy.REFUSE
        # A prompt that comes meanwhile is waited for.
        assert settle(metadata, command, wait_queue=True) is PromptPolicy.WAIT


def test_hung_comfyui_can_be_restarted_but_not_switched(metadata: Path) -> None:
    with published(metadata, None):
        assert settle(metadata, CommandName.RESTART) is PromptPolicy.REFUSE
        with pytest.raises(Failure, match="not known"):
            settle(metadata, CommandName.SWITCH)


def test_wait_for_the_queue_has_a_limit(metadata: Path) -> None:
    with published(metadata, 1), pytest.raises(Failure, match="a stop would lose it"):
        settle(metadata, CommandName.SHUTDOWN, wait_queue=True)


def test_wait_for_the_queue_ends_with_the_supervisor(metadata: Path) -> None:
    with published(metadata, 1):
        pass
    with pytest.raises(Failure) as caught:
        settle(metadata, CommandName.RESTART, wait_queue=True, timeout_seconds=60)
    assert caught.value.code == "supervisor-not-running"


def test_options_exclude_each_other(metadata: Path) -> None:
    with pytest.raises(click.UsageError):
        settle(metadata, CommandName.RESTART, now=True, wait_queue=True)
