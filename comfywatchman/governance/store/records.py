"""The records of governance on disk. Keys are only ever added.

Times are UTC in ISO 8601; paths are absolute unless a field is documented otherwise. Every file has `schema_version`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from comfywatchman.base.state.ranges import check_times

SCHEMA_VERSION: Final = 1

TransactionStatus = Literal[
    "running", "completed", "failed", "aborted", "needs_resolution", "resolved", "promoted", "promote_failed"
]
OperationKind = Literal[
    "init", "node_add", "promote", "remove", "rollback", "undo", "migrate", "package", "comfyui_update"
]


class RegisteredNode(msgspec.Struct, frozen=True, kw_only=True):
    """A registered custom node.

    Attributes:
        id: Its id, the name of its folder in `custom_nodes`.
        git_url: The repository it was cloned from, without credentials; empty for one adopted without an origin.
        ref: The requested branch, tag or commit; empty for the default branch.
        path: Its folder.
        group: Its dependency group in pyproject.toml: `node-<id>`.
        enabled: Whether ComfyUI loads it.
        managed_deps: Its requirement lines in the group, sorted.
        runtime_deps: Those of `managed_deps` that it installed by itself without declaring them.
        overrides: The entries of `[tool.uv] override-dependencies` from its promotion; they are removed with it.
        commit: The commit when it was registered or last promoted; None when it is not a git working copy.
        tree: The hash of its code (`base.code_tree.hash_code_tree`), to detect changes; None when unknown.
        created_at: The time when it was registered.
        updated_at: The time when its record last changed.
        last_txid: Its last transaction.
        last_snapshot: The snapshot after its last promotion.
    """

    id: str
    git_url: str
    ref: str
    path: str
    group: str
    enabled: bool = True
    managed_deps: tuple[str, ...] = ()
    runtime_deps: tuple[str, ...] = ()
    overrides: tuple[str | dict[str, Any], ...] = ()
    commit: str | None = None
    tree: str | None = None
    created_at: str = ""
    updated_at: str = ""
    last_txid: str | None = None
    last_snapshot: str | None = None


class NodeRegistry(msgspec.Struct, frozen=True, kw_only=True):
    """`state/plugins.json`, a truth file: the registered nodes by id."""

    schema_version: int = SCHEMA_VERSION
    plugins: dict[str, RegisteredNode] = {}


class InstalledPackage(msgspec.Struct, frozen=True, order=True):
    """An installed package: its normalised name and its version."""

    name: str
    version: str


class SharedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files that several packages own with different contents: those of one of them are not as it installed them.

    Attributes:
        module: The module or top-level folder.
        packages: Their normalised names, sorted.
        file_count: The number of files; 0 when it is known without looking at files.
    """

    module: str
    packages: tuple[str, ...]
    file_count: int = 0


class PackageDiff(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of a run: added and removed lines of `uv pip freeze`."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class RunLogs(msgspec.Struct, frozen=True, kw_only=True):
    """The output of a run (paths of files), and its exit code (124 at the time limit, 2 without main.py)."""

    stdout: str = ""
    stderr: str = ""
    run_exit_code: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One result of evaluating a candidate.

    Attributes:
        name: The subject, such as `import`, `classes`, `probe`, `files`, `models`.
        status: The result.
        detail: A description for people.
    """

    name: str
    status: Literal["ok", "warn", "fail", "unknown"]
    detail: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of starting ComfyUI in the candidate.

    Attributes:
        how: `exit` when main.py ended by itself, `server` when it served, `none` when it could not be started.
        exit_code: The exit code that the run counts as: 0 is success.
        findings: The findings, worst first.
        classes_added: Node classes that the candidate has and the baseline lacks, by pack.
        classes_lost: Node classes that the baseline has and the candidate lacks, by pack.
        import_failures: Packs whose import failed, each with the last line of its traceback.
        model_folders: The model folders that inputs list, by class and input (observed loaders), separated by commas.
        widget_places: The known positions of those inputs in the editor's list of widget values, by class and input.
        model_directories: The folders of packs' own model folder keys, relative to `models`, by folder key.
    """

    how: Literal["exit", "server", "none"]
    exit_code: int
    findings: tuple[Finding, ...] = ()
    classes_added: dict[str, tuple[str, ...]] = {}
    classes_lost: dict[str, tuple[str, ...]] = {}
    import_failures: dict[str, str] = {}
    model_folders: dict[str, dict[str, str]] = {}
    widget_places: dict[str, dict[str, int]] = {}
    model_directories: dict[str, tuple[str, ...]] = {}


class PromotionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The changes that a promotion makes in pyproject.toml.

    Attributes:
        direct_additions: Requirement lines for the node's group.
        override_additions: Entries for `[tool.uv] override-dependencies`, found by `gov resolve`: a requirement line,
            or `{package = {name = …}, dependencies = […]}` for the requirements of one package.
        runtime_additions: Those of `direct_additions` that the node installed by itself without declaring them.
        unparseable: Lines of its requirements that cannot be governed, each with the reason.
    """

    direct_additions: tuple[str, ...] = ()
    override_additions: tuple[str | dict[str, Any], ...] = ()
    runtime_additions: tuple[str, ...] = ()
    unparseable: tuple[str, ...] = ()


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a promotion.

    Attributes:
        status: `promoted`, `promote_failed` or `needs_resolution`.
        reason: Why core packages were allowed to change (`--reason`).
        pre_snapshot: The snapshot before.
        post_snapshot: The snapshot after.
        error: The failure, with the next step.
        accepted_violations: Lines of `uv pip check` that the user's pins cause on purpose.
        violations: Other lines of `uv pip check`.
        differences: Packages that are locked in another version than was tried, each as `name tried -> locked`.
        judgement: The start of ComfyUI with the locked packages; None when they are those that were tried.
        generation: The key of the new production environment.
    """

    status: str
    reason: str = ""
    pre_snapshot: str | None = None
    post_snapshot: str | None = None
    error: str | None = None
    accepted_violations: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    judgement: Judgement | None = None
    generation: str | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """`state/transactions/<txid>.json`: one node tried in a candidate environment.

    Attributes:
        txid: `YYYYMMDDTHHMMSSZ-<8 hexadecimal digits>`.
        node_id: The node.
        started_at: The time when it began.
        ended_at: The time when its run ended.
        candidate_env: The candidate's folder.
        status: Its status.
        pre_freeze: `uv pip freeze` before the run (without pip, setuptools and wheel).
        post_freeze: The same after the run.
        diff: The changes of the run.
        core_impact: Core packages that promotion would add, remove or change, each as `name old -> new`.
        logs: The output and exit code of the run.
        conflict_report: The path of the conflict report, if there is one.
        resolution_pins: Pins chosen with `gov resolve`, each `package==version`.
        kept_packages: Packages chosen with `gov resolve --keep` among those that own the same files.
        promotion_plan: The changes that promotion makes.
        promotion: The outcome of promotion.
        uv_version: The uv that built the candidate.
        python: The interpreter's version.
        truth_sha256: The hash of the truth files that the candidate was built from.
        node_commit: The node's commit during the run.
        node_tree: The hash of the node's code at the end of the run.
        judgement: The outcome of starting ComfyUI.
        integrity: `verified`, `modified` (files of packages were changed) or `unknown`.
        modified_files: The changed files, relative to the environment.
        error: Why it failed, with the next step.
    """

    schema_version: int = SCHEMA_VERSION
    txid: str
    node_id: str
    started_at: str
    ended_at: str | None = None
    candidate_env: str = ""
    status: TransactionStatus = "running"
    pre_freeze: tuple[str, ...] = ()
    post_freeze: tuple[str, ...] = ()
    diff: PackageDiff = PackageDiff()
    core_impact: tuple[str, ...] = ()
    logs: RunLogs = RunLogs()
    conflict_report: str | None = None
    resolution_pins: tuple[str, ...] = ()
    kept_packages: tuple[str, ...] = ()
    promotion_plan: PromotionPlan | None = None
    promotion: Promotion | None = None
    uv_version: str = ""
    python: str = ""
    truth_sha256: str = ""
    node_commit: str | None = None
    node_tree: str | None = None
    judgement: Judgement | None = None
    integrity: Literal["verified", "modified", "unknown"] = "unknown"
    modified_files: tuple[str, ...] = ()
    error: str | None = None


class SnapshotMeta(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshots/<id>/meta.json`: one snapshot of the truth files.

    Attributes:
        id: `YYYYMMDDTHHMMSSZ-snap-<6 hexadecimal digits>`.
        created_at: The time when it was taken.
        reason: `init`, or the kind of the operation with `_pre` or `_post`, such as `promote_pre`.
        ref: The transaction, node or snapshot that it was taken for.
        generation: The key of its environment, which may have been pruned.
        sha256: The hash of each truth file, so that a damaged snapshot is detected before it is used.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    created_at: str
    reason: str
    ref: str
    generation: str | None = None
    sha256: dict[str, str] = {}


class SnapshotsIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`state/snapshots_index.json`: the snapshots, oldest first."""

    schema_version: int = SCHEMA_VERSION
    snapshots: tuple[SnapshotMeta, ...] = ()


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """A truth file before and after an operation; None where it did not exist."""

    pre_sha256: str | None
    post_sha256: str | None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`state/operations/<op_id>.json`: one change of the truth files, an entry of the history (audit log).

    Attributes:
        op_id: `YYYYMMDDTHHMMSSZ-op-<6 hexadecimal digits>`.
        number: Its place in the history, which a change of the clock does not alter; 0 in records of older versions.
        kind: The kind of change.
        ref: The transaction, node, snapshot or operation that it applies to.
        status: `success`, or `undone` after an `undo`.
        started_at: The time when it began.
        ended_at: The time when it was committed.
        files: The hashes of each truth file before and after; `undo` works only while the files are unchanged since.
        pre_snapshot: The snapshot that `undo` restores.
        post_snapshot: The snapshot of the state after it.
        note: A description for people.
    """

    schema_version: int = SCHEMA_VERSION
    op_id: str
    number: int = 0
    kind: OperationKind
    ref: str
    status: Literal["success", "undone"] = "success"
    started_at: str
    ended_at: str | None = None
    files: dict[str, FileChange] = {}
    pre_snapshot: str | None = None
    post_snapshot: str | None = None
    note: str = ""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """`state/journal.json`: a commit that has begun; recovery repeats its steps.

    Attributes:
        operation: The record of the operation when it is done.
        work: The folder below `state/work` with the new truth files.
        generation: The key of the new production environment.
        post_snapshot: The snapshot to write at the end.
        transaction: The record of the transaction when it is done; None when the operation has none.
        transactions: The records of the transactions of an operation that has several.
        undone: The operation that an `undo` marks as undone.
        removed_node: The node whose code is deleted, with `--purge-code`; None otherwise.
    """

    schema_version: int = SCHEMA_VERSION
    operation: Operation
    work: str
    generation: str | None
    post_snapshot: SnapshotMeta
    transaction: Transaction | None = None
    transactions: tuple[Transaction, ...] = ()
    undone: str | None = None
    removed_node: str | None = None


class GenerationMark(msgspec.Struct, frozen=True, kw_only=True):
    """`envs/<key>/.gov-complete`: marks a complete, verified environment; without it a folder is an unfinished build.

    Attributes:
        key: Its name: a hash over its truth files, the interpreter and the link mode.
        created_at: The time when it was complete.
        python: The interpreter's version.
        uv_version: The uv that built it.
        lock_sha256: The hash of its uv.lock.
        packages: Its packages.
        link_mode: How its files came from uv's cache: `clone`, `hardlink` or `copy`.
        unverifiable: Files that never matched their package's RECORD, as the package was published with a wrong one;
            relative to the environment.
        shared: Files that several of its packages own.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    created_at: str
    python: str
    uv_version: str
    lock_sha256: str
    packages: tuple[InstalledPackage, ...] = ()
    link_mode: str = "hardlink"
    unverifiable: tuple[str, ...] = ()
    shared: tuple[SharedFiles, ...] = ()

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.created_at)
