"""Checks of what waits for a person and of what takes room. Pure: facts in, result out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.base.text import format_size, pluralize
from comfywatchman.governance.checks.packages import shorten_list
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.store.records import TransactionStatus

_WAITING_STATUSES: Final[dict[TransactionStatus, tuple[str, str]]] = {
    "needs_resolution": ("waits for pins", "gov resolve {txid}"),
    "promote_failed": ("could not be promoted", "gov tx inspect {txid}"),
    "completed": ("waits to be promoted", "gov tx promote {txid}"),
    "resolved": ("waits to be promoted", "gov tx promote {txid}"),
    "running": ("was cut off while it ran", "gov tx abort {txid}"),
}
"""Statuses in which a transaction waits for somebody, most pressing first: how that is said, and what to do."""

LOW_SPACE_BYTES: Final = 2 << 30
"""Free room below which the next environment may not fit: an incremental build of ComfyUI's takes up to this."""


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction: its id, node and status, and whether the process that runs it lives."""

    txid: str
    node_id: str
    status: TransactionStatus
    is_alive: bool = False


def judge_transactions(transactions: Sequence[OpenTransaction]) -> CheckResult:
    """Judge whether transactions wait for somebody; of a node only the newest does, as it overtakes the others."""
    newest = {one.node_id: one for one in sorted(transactions, key=lambda one: one.txid)}.values()
    waiting = [
        one for one in newest if one.status in _WAITING_STATUSES and not (one.status == "running" and one.is_alive)
    ]
    if not waiting:
        return CheckResult(name="transactions", status="ok", evidence="No transaction waits for anybody.")
    order = list(_WAITING_STATUSES)
    waiting.sort(key=lambda one: (order.index(one.status), one.txid))
    said = [f"{one.node_id} {_WAITING_STATUSES[one.status][0]} ({one.txid})" for one in waiting]
    return CheckResult(
        name="transactions",
        status="warn",
        evidence=f"{shorten_list(said)}.",
        action=_WAITING_STATUSES[waiting[0].status][1].format(txid=waiting[0].txid),
        items=tuple(sorted(one.txid for one in waiting)),
    )


def judge_conflicts(transactions: Sequence[OpenTransaction], reports: Sequence[str]) -> CheckResult:
    """Judge whether package conflicts are open.

    Args:
        transactions: The transactions.
        reports: The transactions that have a conflict report.
    """
    pressing = sorted(one.txid for one in transactions if one.status == "needs_resolution" and one.txid in reports)
    if not pressing:
        return CheckResult(name="conflicts", status="ok", evidence="No conflict between packages is open.")
    return CheckResult(
        name="conflicts",
        status="warn",
        evidence=f"Packages of {pluralize(len(pressing), 'transaction')} cannot be installed "
        f"together with what is locked: {shorten_list(pressing)}.",
        action=f"gov resolve {pressing[0]}",
        items=tuple(pressing),
    )


def judge_listening(addresses: Sequence[str] | None) -> CheckResult:
    """Judge whether ComfyUI can be reached from other machines; whoever reaches it can run code on this one.

    Args:
        addresses: Addresses beyond loopback at which it listens; None when that could not be told.
    """
    if addresses is None:
        return CheckResult(
            name="listening", status="unknown", evidence="Which addresses ComfyUI listens at could not be told."
        )
    if not addresses:
        return CheckResult(name="listening", status="ok", evidence="ComfyUI does not listen beyond this machine.")
    return CheckResult(
        name="listening",
        status="warn",
        evidence=f"ComfyUI listens beyond this machine ({shorten_list(sorted(addresses))}): it "
        "has no login, and whoever "
        "reaches it can run code here.",
        action="Start it without --listen, or put a proxy with a login before it.",
        items=tuple(sorted(addresses)),
    )


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """How much is kept.

    Attributes:
        snapshots: How many snapshots there are.
        retention: How many are kept.
        damaged: Snapshots of which a file is not as it was written.
        environments: How many environments there are.
        used_bytes: What all of the governed root takes on its disk; None when there was no time to count.
        free_bytes: What is free on that disk; None when it could not be told.
    """

    snapshots: int
    retention: int
    damaged: tuple[str, ...] = ()
    environments: int = 0
    used_bytes: int | None = None
    free_bytes: int | None = None


def judge_storage(facts: StorageFacts) -> CheckResult:
    """Judge the snapshots and the room that environments take."""
    used = "an uncounted size" if facts.used_bytes is None else format_size(facts.used_bytes)
    evidence = (
        f"{pluralize(facts.snapshots, 'snapshot')} (at most {facts.retention} are kept), "
        f"{pluralize(facts.environments, 'environment')}, {used}."
    )
    status: Literal["ok", "warn", "unknown"] = "ok"
    action = None
    if facts.used_bytes is None:
        status, action = "unknown", "gov check"
    if facts.free_bytes is not None and facts.free_bytes < LOW_SPACE_BYTES:
        evidence = f"Only {format_size(facts.free_bytes)} are free for the next environment. {evidence}"
        status, action = "warn", "Free room, or lower [runtime] keep_generations in the config.toml of the root."
    if facts.damaged:
        status = "warn"
        evidence = f"Damaged snapshots, to which no rollback is possible: {shorten_list(facts.damaged)}. {evidence}"
        action = f"gov snapshot inspect {facts.damaged[0]}"
    return CheckResult(
        name="storage", status=status, evidence=evidence, action=action, items=tuple(sorted(facts.damaged))
    )
