"""The commands that each transaction status allows, and the one to run next. Pure.

Commands, checks and failure hints all read this table, so that they never contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.governance.store.records import TransactionStatus

Action = Literal["resolve", "promote", "promote_failed_run", "abort"]


@dataclass(frozen=True, slots=True)
class StatusPolicy:
    """What a user can do with a transaction in one status.

    Attributes:
        actions: The commands that accept it. `promote_failed_run` is `gov tx promote --allow-failed-run`.
        waiting: Why it waits for a decision, as the text goes on after the node's name; empty when it does not wait.
        command: The command that takes it further, with `{txid}` to fill in; empty when there is none.
        guidance: The next steps in one line, with `{txid}` to fill in; empty when there are none.
    """

    actions: frozenset[Action]
    waiting: str = ""
    command: str = ""
    guidance: str = ""


# The most pressing status comes first: checks name transactions in this order.
STATUS_POLICIES: Final[dict[TransactionStatus, StatusPolicy]] = {
    "needs_resolution": StatusPolicy(
        actions=frozenset({"resolve", "abort"}),
        waiting="waits for pins",
        command="gov resolve {txid}",
        guidance="Next: gov resolve {txid}, or with --pin PACKAGE==VERSION; then gov tx promote {txid}",
    ),
    "promote_failed": StatusPolicy(
        actions=frozenset({"resolve", "abort"}),
        waiting="could not be promoted",
        command="gov tx inspect {txid}",
        guidance="Production is unchanged. Fix the cause, then run: gov resolve {txid} and gov tx promote {txid}",
    ),
    "completed": StatusPolicy(
        actions=frozenset({"promote", "abort"}),
        waiting="waits to be promoted",
        command="gov tx promote {txid}",
        guidance="Next: gov tx promote {txid}, or gov tx abort {txid}",
    ),
    "resolved": StatusPolicy(
        actions=frozenset({"resolve", "promote", "abort"}),
        waiting="waits to be promoted",
        command="gov tx promote {txid}",
        guidance="Next: gov tx promote {txid}",
    ),
    # Whether a running one was interrupted depends on its process, so no guidance is shown for it.
    "running": StatusPolicy(
        actions=frozenset({"abort"}),
        waiting="was interrupted while it ran",
        command="gov tx abort {txid}",
    ),
    "failed": StatusPolicy(
        actions=frozenset({"promote_failed_run", "abort"}),
        command="gov tx inspect {txid}",
        guidance="See what failed: gov tx inspect {txid}. "
        "To promote it all the same: gov tx promote {txid} --allow-failed-run",
    ),
    "promoted": StatusPolicy(actions=frozenset()),
    "aborted": StatusPolicy(actions=frozenset()),
}

CLOSED_STATUSES: Final = frozenset(status for status, policy in STATUS_POLICIES.items() if not policy.actions)
"""The statuses that no command changes any more."""

PENDING_STATUSES: Final = frozenset(status for status, policy in STATUS_POLICIES.items() if policy.waiting)
"""The statuses that wait for a decision."""


def is_allowed(action: Action, status: TransactionStatus) -> bool:
    """Return whether a command accepts a transaction in a status."""
    return action in STATUS_POLICIES[status].actions


def describe_next_step(status: TransactionStatus, txid: str) -> str:
    """Return the next steps for a transaction in one line; empty when there are none."""
    return STATUS_POLICIES[status].guidance.format(txid=txid)
