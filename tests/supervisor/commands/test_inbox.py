from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfywatchman.base.stop import StopEvent
from comfywatchman.supervisor.commands.answers import Phase
from comfywatchman.supervisor.commands.inbox import CommandInbox
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, write_command
from comfywatchman.supervisor.publisher import StatusPublisher
from comfywatchman.supervisor.restart_policy import RestartPolicy
from tests.fakes import FakeClock


@dataclass
class Queue:
    """A ComfyUI with a number of prompts; `seen` is that of the last look."""

    prompts: int | None = 0
    seen: int | None = None
    asked: int = 0

    @property
    def is_known_busy(self) -> bool:
        return bool(self.prompts if self.seen is None else self.seen)

    def count_prompts(self) -> int | None:
        self.asked += 1
        return self.prompts


@dataclass
class Mail:
    """An inbox, its clock and what it publishes."""

    metadata: Path
    clock: FakeClock
    publisher: StatusPublisher
    inbox: CommandInbox

    def order(
        self, command: CommandName, policy: PromptPolicy = PromptPolicy.REFUSE, *, target: str | None = None
    ) -> None:
        write_command(self.metadata, command, prompts=policy, target_env=target, clock=self.clock)

    def take(self, queue: Queue | None = None, phase: Phase = Phase.RUNNING) -> CommandName | None:
        command = self.inbox.take(phase, current="main", comfyui=queue or Queue())
        return command.command if command is not None else None


@pytest.fixture
def mail(metadata: Path) -> Mail:
    clock = FakeClock()
    publisher = StatusPublisher(metadata, clock, port=8188, policy=RestartPolicy())
    return Mail(metadata, clock, publisher, CommandInbox(metadata, clock, logging.getLogger("test"), publisher))


def test_command_is_taken_once(mail: Mail) -> None:
    assert mail.take() is None
    mail.order(CommandName.RESTART)
    assert mail.take() is CommandName.RESTART
    assert mail.take() is None


def test_refusal_is_published_until_a_command_is_carried_out(mail: Mail) -> None:
    mail.order(CommandName.RESTART)
    assert mail.take(Queue(prompts=2)) is None
    refused = mail.publisher.refused
    assert refused is not None
    assert (refused.command, refused.code) == (CommandName.RESTART, "supervisor-queue-not-empty")
    assert refused.ordered_at == mail.clock.now().timestamp()
    mail.order(CommandName.RESTART, PromptPolicy.END)
    assert mail.take(Queue(prompts=2)) is CommandName.RESTART
    assert mail.publisher.refused is None


def test_command_waits_until_the_queue_is_empty(mail: Mail) -> None:
    queue = Queue(prompts=1)
    mail.order(CommandName.RESTART, PromptPolicy.WAIT)
    assert mail.take(queue) is None
    assert mail.publisher.waiting_command is CommandName.RESTART
    assert mail.take(queue) is None
    # The last look said that there is work, so the server was not asked again.
    assert queue.asked == 1
    queue.seen, queue.prompts = 0, 1
    assert mail.take(queue) is None
    queue.prompts = 0
    assert mail.take(queue) is CommandName.RESTART
    assert mail.publisher.waiting_command is None


def test_waiting_command_is_carried_out_when_comfyui_has_ended(mail: Mail) -> None:
    mail.order(CommandName.SWITCH, PromptPolicy.WAIT, target="other")
    assert mail.take(Queue(prompts=1)) is None
    command = mail.inbox.take(Phase.IDLE)
    assert command is not None
    assert command.target_env == "other"


def test_next_command_replaces_the_one_that_waits_and_both_are_answered(mail: Mail) -> None:
    mail.order(CommandName.RESTART, PromptPolicy.WAIT)
    assert mail.take(Queue(prompts=1)) is None
    mail.order(CommandName.SHUTDOWN, PromptPolicy.WAIT)
    assert mail.take(Queue(prompts=1)) is None
    assert mail.publisher.waiting_command is CommandName.SHUTDOWN
    refused = mail.publisher.refused
    assert refused is not None
    assert (refused.command, refused.code) == (CommandName.RESTART, "supervisor-command-replaced")


def test_abort_withdraws_the_command_that_waits(mail: Mail) -> None:
    mail.order(CommandName.SWITCH, PromptPolicy.WAIT, target="other")
    assert mail.take(Queue(prompts=1)) is None
    mail.order(CommandName.ABORT_SWITCH)
    assert mail.take(Queue(prompts=1)) is None
    assert mail.publisher.waiting_command is None
    assert mail.take(Queue(prompts=0)) is None


def test_command_during_a_switch_is_refused_and_not_dropped(mail: Mail) -> None:
    mail.order(CommandName.RESTART)
    assert mail.take(phase=Phase.SWITCHING) is None
    assert mail.publisher.refused is not None
    assert mail.publisher.refused.code == "supervisor-switch-running"
    mail.order(CommandName.ABORT_SWITCH)
    assert mail.take(phase=Phase.SWITCHING) is CommandName.ABORT_SWITCH


def test_old_command_is_discarded(mail: Mail) -> None:
    mail.order(CommandName.SHUTDOWN)
    mail.clock.advance(awake=61)
    mail.inbox.discard_old(limit_seconds=60)
    assert mail.take() is None


def test_wait_ends_with_a_command_or_the_stop_event(mail: Mail) -> None:
    with StopEvent() as stop:
        assert mail.inbox.wait(stop, 0) is None
        mail.order(CommandName.RESTART)
        command = mail.inbox.wait(stop, 60)
        assert command is not None
        assert command.command is CommandName.RESTART
        stop.set()
        assert mail.inbox.wait(stop, 60) is None
