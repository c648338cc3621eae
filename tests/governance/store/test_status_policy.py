from __future__ import annotations

import re
from typing import get_args

import pytest

from comfywatchman.governance.store.records import TransactionStatus
from comfywatchman.governance.store.status_policy import (
    CLOSED_STATUSES,
    PENDING_STATUSES,
    STATUS_POLICIES,
    Action,
    describe_next_step,
    is_allowed,
)

ACTION_OF_COMMAND: dict[str, Action] = {"resolve": "resolve", "tx promote": "promote", "tx abort": "abort"}


def test_every_status_has_a_policy() -> None:
    assert set(STATUS_POLICIES) == set(get_args(TransactionStatus))


def test_closed_and_pending_statuses() -> None:
    assert {"promoted", "aborted"} == CLOSED_STATUSES
    assert {"needs_resolution", "promote_failed", "completed", "resolved", "running"} == PENDING_STATUSES


@pytest.mark.parametrize("status", sorted(PENDING_STATUSES))
def test_pending_status_names_an_allowed_command(status: TransactionStatus) -> None:
    command = STATUS_POLICIES[status].command
    name = command.removeprefix("gov ").removesuffix(" {txid}")
    assert name == "tx inspect" or is_allowed(ACTION_OF_COMMAND[name], status)


@pytest.mark.parametrize("status", sorted(STATUS_POLICIES))
def test_first_command_of_the_guidance_is_allowed(status: TransactionStatus) -> None:
    first = re.search(r"gov (resolve|tx promote|tx abort) T", describe_next_step(status, "T"))
    if status not in {"failed", "running", *CLOSED_STATUSES}:
        assert first is not None
        assert is_allowed(ACTION_OF_COMMAND[first[1]], status)


def test_only_a_failed_run_needs_the_option_to_promote() -> None:
    assert not is_allowed("promote", "failed")
    assert [status for status in STATUS_POLICIES if is_allowed("promote_failed_run", status)] == ["failed"]
