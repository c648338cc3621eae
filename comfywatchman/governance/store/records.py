"""The shapes of what governance keeps on disk; keys are only ever added.

Times are UTC in ISO 8601; paths are absolute unless a field says otherwise. Every file carries `schema_version`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

SCHEMA_VERSION: Final = 1

TransactionStatus = Literal[
    "running", "completed", "failed", "aborted", "needs_resolution", "resolved", "promoted", "promote_failed"
]
OperationKind = Literal["init", "node_add", "promote", "remove", "rollback", "undo", "migrate"]


class RegisteredNode(msgspec.Struct, frozen=True, kw_only=True):
    """A registered custom node.

    Attributes:
        id: Its folder in `custom_nodes` and its name here.
        git_url: Where it was cloned from, without credentials; empty for one that was adopted without an origin.
        ref: The branch, tag or commit that was asked for; empty for the default branch.
        path: Its folder.
        group: Its dependency group in pyproject.toml: `node-<id>`.
        enabled: Whether ComfyUI loads it.
        managed_deps: Its requirement lines in the group, sorted.
        runtime_deps: Those of `managed_deps` that it declares nowhere: it installed them by itself.
        overrides: The entries of `[tool.uv] override-dependencies` that came with its promotion; they go with it.
        commit: The commit it was registered or last promoted at; None when it is no git working copy.
        tree: Hash over its code (`base.code_tree.tree_of`), so that changed code is seen; None when not known.
        created_at: When it was registered.
        updated_at: When its record last changed.
        last_txid: The last transaction of it.
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


class PackageDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What a run changed: lines of `uv pip freeze` that came and went."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class RunLogs(msgspec.Struct, frozen=True, kw_only=True):
    """What the run printed (paths), and how it ended (124 at the time limit, 2 without main.py)."""

    stdout: str = ""
    stderr: str = ""
    run_exit_code: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the judging of a candidate saw.

    Attributes:
        name: What was looked at, such as `import`, `classes`, `probe`, `files`, `models`.
        status: How it was.
        detail: What was seen, in words for a person.
    """

    name: str
    status: Literal["ok", "warn", "fail", "unknown"]
    detail: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """How a start of ComfyUI in the candidate went.

    Attributes:
        how: `exit` when main.py ended by itself, `server` when it served, `none` when it could not be started.
        exit_code: What the run counts as: 0 is well.
        findings: What was seen, worst first.
        classes_added: Node classes that the candidate has and the comparison start had not, by pack.
        classes_lost: Node classes that the candidate lacks, by pack.
        import_failures: Packs whose import failed, each with the last line of its traceback.
        model_folders: Model folder keys that packs were seen to list, by node class and input; several have commas
            between. Feeds what readiness knows of loaders.
        widget_places: Places of those inputs in the editor's list of widget values, by node class and input, as far
            as they are known.
        model_directories: Where packs keep models of folders that only they have, relative to `models`, by folder key.
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
    """What a promotion would write into pyproject.toml.

    Attributes:
        direct_additions: Requirement lines for the node's group.
        override_additions: Entries for `[tool.uv] override-dependencies`, as `gov resolve` found them to work: a
            requirement line, or `{package = {name = …}, dependencies = […]}` for what one package asks for.
        runtime_additions: Packages that the node installed by itself and declares nowhere; they are in
            `direct_additions` too.
        unparseable: Lines of its requirements that cannot be governed, each with why.
    """

    direct_additions: tuple[str, ...] = ()
    override_additions: tuple[str | dict[str, Any], ...] = ()
    runtime_additions: tuple[str, ...] = ()
    unparseable: tuple[str, ...] = ()


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """How a promotion went.

    Attributes:
        status: `promoted`, `promote_failed` or `needs_resolution`.
        reason: Why the core gate was opened (`--reason`).
        pre_snapshot: The snapshot before.
        post_snapshot: The snapshot after.
        error: What failed, with the next step.
        accepted_violations: What `uv pip check` said of pins that were chosen on purpose.
        violations: What `uv pip check` said beside that.
        differences: Packages that are locked in another version than was tried, each as `name tried -> locked`.
        generation: The environment that was put in production.
    """

    status: str
    reason: str = ""
    pre_snapshot: str | None = None
    post_snapshot: str | None = None
    error: str | None = None
    accepted_violations: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    generation: str | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """`state/transactions/<txid>.json`: one node tried in a candidate environment.

    Attributes:
        txid: `YYYYMMDDTHHMMSSZ-<8 hexadecimal digits>`.
        node_id: The node.
        started_at: When it began.
        ended_at: When its run ended.
        candidate_env: The candidate's folder.
        status: Where it stands.
        pre_freeze: `uv pip freeze` before the run (pip, setuptools and wheel left out).
        post_freeze: The same after the run.
        diff: What the run changed.
        core_impact: Core packages that promotion would add, remove or change, each as `name old -> new`.
        logs: What the run printed and how it ended.
        conflict_report: The path of the conflict report, when there is one.
        resolution_pins: Pins chosen with `resolve`, each `package==version`.
        promotion_plan: What promotion would write.
        promotion: How promotion went.
        uv_version: The uv that built the candidate.
        python: The interpreter's version.
        truth_sha256: Hash of the truth files the candidate was built from.
        node_commit: The node's commit when it ran.
        node_tree: The node's tree when its run had ended.
        judgement: How the start went.
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
    """`snapshots/<id>/meta.json`: one kept state of the truth files.

    Attributes:
        id: `YYYYMMDDTHHMMSSZ-snap-<6 hexadecimal digits>`.
        created_at: When it was taken.
        reason: `init`, `promote_pre`, `promote_post`, `remove_pre`, `remove_post`, `rollback_pre`, `rollback_post`,
            `undo_pre`, `undo_post`.
        ref: The transaction, node or snapshot that it was taken for.
        generation: The environment that belongs to it; it may have been pruned.
        sha256: Hash of each truth file, so that a damaged snapshot is seen before it is used.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    created_at: str
    reason: str
    ref: str
    generation: str | None = None
    sha256: dict[str, str] = {}


class SnapshotsIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`state/snapshots_index.json`: the kept snapshots, oldest first."""

    schema_version: int = SCHEMA_VERSION
    snapshots: tuple[SnapshotMeta, ...] = ()


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """A truth file before and after an operation; None where there was none."""

    pre_sha256: str | None
    post_sha256: str | None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`state/operations/<op_id>.json`: one change of the truth files.

    Attributes:
        op_id: `YYYYMMDDTHHMMSSZ-op-<6 hexadecimal digits>`.
        kind: What was done.
        ref: The transaction, node, snapshot or operation that it was done to.
        status: `success`, or `undone` after an `undo`.
        started_at: When it began.
        ended_at: When it was committed.
        files: Each truth file's hash before and after; `undo` works only while the files are still as after.
        pre_snapshot: What `undo` goes back to.
        post_snapshot: The state after.
        note: What it did, for people.
    """

    schema_version: int = SCHEMA_VERSION
    op_id: str
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
    """`state/journal.json`: a commit that has begun; recovery does the rest of it again.

    Attributes:
        operation: The operation as it will stand when done.
        work: The folder below `state/work` that holds the new truth files.
        generation: The environment that production becomes.
        post_snapshot: The snapshot to take after, complete but for its place on disk.
        transaction: The transaction as it will stand when done; None when the operation has none.
        undone: The operation that an `undo` marks as undone.
        removed_node: The node whose code goes, with `--purge-code`; None otherwise.
    """

    schema_version: int = SCHEMA_VERSION
    operation: Operation
    work: str
    generation: str | None
    post_snapshot: SnapshotMeta
    transaction: Transaction | None = None
    undone: str | None = None
    removed_node: str | None = None


class RequirementEdge(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """One requirement that takes part in a clash: who asks for what.

    Attributes:
        source: The package or `node <id>` or `base` that asks.
        requirement: What it asks for, a PEP 508 line.
    """

    source: str
    requirement: str


class ConflictReport(msgspec.Struct, frozen=True, kw_only=True):
    """`state/conflicts/<txid>.json`: why the packages cannot be installed together.

    Attributes:
        txid: The transaction.
        node_id: Its node.
        created_at: When it was written.
        kind: What kind of trouble uv reported.
        confidence: `verified` when the smallest clash was confirmed by resolving it alone, else `unparsed`.
        summary: What clashes, in one or two sentences.
        clash: The smallest set of requirements found that cannot be met together.
        roots: The requirements of nodes or of the base that uv named.
        edges: Everything of which uv said that something asks for it, packages between included.
        detected_packages: Packages that take part.
        suggestions: Pins to try, each `package==version`, best first.
        input_hint: How to give pins.
        raw_log: The path of what uv printed.
    """

    schema_version: int = SCHEMA_VERSION
    txid: str
    node_id: str
    created_at: str
    kind: Literal[
        "conflict", "offline_cache_miss", "network", "build_failed", "stale_lock", "not_found", "bad_input", "other"
    ]
    confidence: Literal["verified", "unparsed"]
    summary: str
    clash: tuple[RequirementEdge, ...] = ()
    roots: tuple[RequirementEdge, ...] = ()
    edges: tuple[RequirementEdge, ...] = ()
    detected_packages: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    input_hint: str = "Use: package==version"
    raw_log: str = ""


class GenerationMark(msgspec.Struct, frozen=True, kw_only=True):
    """`envs/<key>/.gov-complete`: a complete, verified environment; without it a folder is an unfinished build.

    Attributes:
        key: Its name: a hash over the truth it was built from, the interpreter and the way files were linked.
        created_at: When it was complete.
        python: The interpreter's version.
        uv_version: The uv that built it.
        lock_sha256: The lock that it was built from.
        packages: What is in it.
        link_mode: How files came there: `clone`, `hardlink` or `copy`.
        unverifiable: Files that were never as their own package says, relative to the environment: the package was
            published so.
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
