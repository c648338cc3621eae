"""The governed Python environment: what waits for a decision, what happened, and the ways back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.app.pages.forms import protect, read_field
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest
from comfywatchman.app.pages.tasks import start_command
from comfywatchman.app.session import Session
from comfywatchman.app.tasks.records import TaskKind
from comfywatchman.base.config import network_variables
from comfywatchman.base.errors import Failure
from comfywatchman.governance.adoption.old_environment import find_python
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.access import read_context
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.rollback import read_operations
from comfywatchman.governance.status import GovStatus, read_status
from comfywatchman.governance.store.records import Operation, PackageDiff, SnapshotMeta, Transaction
from comfywatchman.governance.store.status_policy import PENDING_STATUSES, STATUS_POLICIES, is_allowed
from comfywatchman.governance.transactions import transaction
from comfywatchman.governance.transactions.freeze import parse_freeze
from comfywatchman.readiness.status import Environment

_SHOWN_OPERATIONS: Final = 20
_SHOWN_SNAPSHOTS: Final = 50
_OPEN_STATUSES: Final = PENDING_STATUSES | {"failed"}


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that a transaction adds, changes or removes; the version is empty where it does not exist."""

    name: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        """`added`, `changed` or `removed`."""
        if not self.before:
            return "added"
        return "changed" if self.after else "removed"


@dataclass(frozen=True, slots=True)
class TransactionView:
    """A transaction that a person decides about.

    Attributes:
        record: Its record.
        waiting: Why it waits; empty when its trial failed.
        changes: What it changes in production.
        can_promote: Whether it can be promoted.
        can_promote_failed: Whether it can be promoted although its trial failed.
        can_resolve: Whether pins can resolve its conflict.
        promote_command: The command that promotes it.
        abort_command: The command that deletes its candidate.
        inspect_command: The command that shows all of it.
    """

    record: Transaction
    waiting: str
    changes: tuple[PackageChange, ...]
    can_promote: bool
    can_promote_failed: bool
    can_resolve: bool
    promote_command: str
    abort_command: str
    inspect_command: str


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """A kept state: its record, whether its environment is kept, and the command that goes back to it."""

    meta: SnapshotMeta
    is_kept: bool
    command: str


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """The environment page.

    Attributes:
        status: The state of the governed root; None when no environment is governed.
        problem: Why the root cannot be read; empty when it can.
        hint: What to do about that.
        checked: The checks of the last report; None before the first one.
        check_command: The command that checks everything.
        init_command: The command that governs the environment; empty when it is governed.
        waiting: Transactions that a person decides about, the newest first.
        operations: The last changes, the newest first.
        names: The node of each transaction, and what each change was, by id.
        undo_id: The change that can be taken back; empty for none.
        undo_command: The command that takes it back.
        snapshots: The kept states, the newest first.
    """

    status: GovStatus | None
    problem: str
    hint: str
    checked: Environment | None
    check_command: str
    init_command: str = ""
    waiting: tuple[TransactionView, ...] = ()
    operations: tuple[Operation, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    undo_id: str = ""
    undo_command: str = ""
    snapshots: tuple[SnapshotView, ...] = ()


def view_environment(request: PageRequest) -> EnvironmentView:
    """Return the environment page.

    Raises:
        Failure: A `config-…` code.
    """
    session = request.host.session
    checked = _read_checks(request.host)
    check_command = session.format_command("env", "check")
    try:
        gov = _read_gov(session)
        status = read_status(gov)
        transactions = transaction.read_all(gov.layout)[::-1]
        operations = read_operations(gov.layout)[::-1]
        snapshots = snapshot.read_all(gov.layout)[::-1]
    except Failure as failure:
        is_new = failure.code == "gov-not-initialised"
        # The page shows the command itself.
        hint = "" if is_new else failure.hint or ""
        init_command = choose_init_command(session, is_new=is_new)
        return EnvironmentView(None, failure.message, hint, checked, check_command, init_command)
    # Only the newest change can be taken back: the files must not have changed since.
    undo_id = (
        operations[0].op_id if operations and operations[0].status == "success" and operations[0].pre_snapshot else ""
    )
    return EnvironmentView(
        status=status,
        problem="",
        hint="",
        checked=checked,
        check_command=check_command,
        waiting=tuple(_describe_transaction(session, record) for record in transactions if _is_open(record)),
        operations=operations[:_SHOWN_OPERATIONS],
        names=name_references(transactions, operations[::-1]),
        undo_id=undo_id,
        undo_command=session.format_command("env", "undo", undo_id) if undo_id else "",
        snapshots=tuple(_describe_snapshot(session, gov, meta) for meta in snapshots[:_SHOWN_SNAPSHOTS]),
    )


def name_references(transactions: Iterable[Transaction], operations: Iterable[Operation]) -> dict[str, str]:
    """Return what a change refers to in words that people know, by id: a node for a transaction, and earlier changes.

    Records are deleted in time; an id without one stands for itself. Pure.
    """
    names = {record.txid: record.node_id for record in transactions}
    for operation in operations:
        kind = operation.kind.replace("_", " ")
        names[operation.op_id] = f"{kind} of {names.get(operation.ref, operation.ref)}"
    return names


def list_package_changes(diff: PackageDiff) -> tuple[PackageChange, ...]:
    """Return the packages that a run added, changed or removed, by name. Pure."""
    before, after = _read_versions(diff.removed), _read_versions(diff.added)
    names = sorted(before.keys() | after.keys())
    return tuple(PackageChange(name, before.get(name, ""), after.get(name, "")) for name in names)


def check_environment(request: ActionRequest) -> ActionResult:
    """Start all checks.

    Raises:
        Failure: `child-failed`.
    """
    return start_command(request, TaskKind.CHECK, "env", "check", sentence="The checks have started.")


def promote_transaction(request: ActionRequest) -> ActionResult:
    """Start the promotion of a transaction.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    txid = read_field(request, "transaction")
    options = []
    if request.form.get("core") == "yes":
        options += ["--approve-core", f"--reason={read_field(request, 'reason')}"]
    if request.form.get("failed") == "yes":
        options.append("--allow-failed-run")
    return start_command(
        request,
        TaskKind.PROMOTION,
        "env",
        "tx",
        "promote",
        *options,
        *protect(txid),
        sentence="The promotion has started. Until it ends, production stays as it is.",
        subject=txid,
    )


def abort_transaction(request: ActionRequest) -> ActionResult:
    """Start deleting the candidate of a transaction.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    txid = read_field(request, "transaction")
    return start_command(
        request,
        TaskKind.ABORT,
        "env",
        "tx",
        "abort",
        *protect(txid),
        sentence="The candidate is being deleted.",
        subject=txid,
    )


def resolve_transaction(request: ActionRequest) -> ActionResult:
    """Start the search for pins that resolve a conflict.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    txid = read_field(request, "transaction")
    return start_command(
        request,
        TaskKind.RESOLUTION,
        "env",
        "resolve",
        *protect(txid),
        sentence="The conflict is being resolved.",
        subject=txid,
    )


def go_back(request: ActionRequest) -> ActionResult:
    """Start going back to a snapshot.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    snapshot_id = read_field(request, "snapshot")
    return start_command(
        request,
        TaskKind.ROLLBACK,
        "env",
        "rollback",
        *protect(snapshot_id),
        sentence="Going back has started.",
        subject=snapshot_id,
    )


def undo_operation(request: ActionRequest) -> ActionResult:
    """Start taking back a change.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    operation = read_field(request, "operation")
    return start_command(
        request,
        TaskKind.UNDO,
        "env",
        "undo",
        *protect(operation),
        sentence="The change is being taken back.",
        subject=operation,
    )


def _read_gov(session: Session) -> GovContext:
    return read_context(
        session.governed_root,
        comfyui=session.find_comfyui_folder(),
        clock=session.clock,
        network=network_variables(),
    )


def choose_init_command(session: Session, *, is_new: bool) -> str:
    """Return the command that creates or repairs a root; a new one adopts the environment that ComfyUI has.

    Raises:
        Failure: A `config-…` code, or `comfyui-not-found`.
    """
    comfyui = session.find_comfyui_folder() if is_new else None
    has_environment = comfyui is not None and find_python(comfyui, running=None, active="") is not None
    return session.format_command("env", "init", *(["--adopt"] if has_environment else []))


def _read_checks(host: PageHost) -> Environment | None:
    report = host.read_master_status()
    return report.environment if report is not None else None


def _is_open(record: Transaction) -> bool:
    return record.status in _OPEN_STATUSES


def _describe_transaction(session: Session, record: Transaction) -> TransactionView:
    status, txid = record.status, record.txid
    options = ["--approve-core", "--reason", "REASON"] if record.core_impact else []
    if status == "failed":
        options.append("--allow-failed-run")
    return TransactionView(
        record=record,
        waiting=STATUS_POLICIES[status].waiting,
        changes=list_package_changes(record.diff),
        can_promote=is_allowed("promote", status),
        can_promote_failed=is_allowed("promote_failed_run", status),
        can_resolve=is_allowed("resolve", status),
        promote_command=session.format_command("env", "tx", "promote", *options, txid),
        abort_command=session.format_command("env", "tx", "abort", txid),
        inspect_command=session.format_command("env", "tx", "inspect", txid),
    )


def _describe_snapshot(session: Session, gov: GovContext, meta: SnapshotMeta) -> SnapshotView:
    is_kept = generation.read_mark(gov.layout, meta.generation) is not None
    return SnapshotView(meta, is_kept, session.format_command("env", "rollback", meta.id))


def _read_versions(lines: Iterable[str]) -> dict[str, str]:
    """Return the version of each package, or where it was installed from."""
    return {name: package.version or package.url or package.line for name, package in parse_freeze(lines).items()}
