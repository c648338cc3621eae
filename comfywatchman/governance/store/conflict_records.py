"""The conflict report of a transaction on disk. Keys are only ever added."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from comfywatchman.governance.store.records import SCHEMA_VERSION, SharedFiles

BASE_REPORT: Final = "init"
"""Stands for the transaction in the report of a `gov init` that failed."""


class RequirementEdge(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """One requirement in a conflict, with its source.

    Attributes:
        source: The package, `node <id>` or `base` that requires it.
        requirement: The requirement, a PEP 508 line.
    """

    source: str
    requirement: str


class PinStart(msgspec.Struct, frozen=True, kw_only=True):
    """A start of ComfyUI in a candidate with everything that a pin locks.

    Attributes:
        pin: The pin, `package==version`.
        has_started: Whether ComfyUI and all nodes started.
        reason: What failed; empty when nothing did.
    """

    pin: str
    has_started: bool
    reason: str = ""


class ConflictReport(msgspec.Struct, frozen=True, kw_only=True):
    """`state/conflicts/<txid>.json`: why the packages cannot be installed together.

    Attributes:
        txid: The transaction; `init` for `gov init`.
        node_id: Its node.
        created_at: The time when it was written.
        kind: The kind of uv's failure; `same_files` when packages that own the same files would be installed together.
        confidence: `verified` when the minimal conflict was confirmed by resolving it alone, else `unparsed`.
        summary: The conflict in one or two sentences.
        clash: The minimal conflict: requirements that cannot be met together, while without any one of them they can.
        roots: The requirements of nodes or of the base that uv named.
        edges: All requirements that uv named, those of packages included.
        detected_packages: The packages that take part.
        suggestions: Pins to try, each `package==version`, best first; those with which ComfyUI started come before the
            others.
        starts: The start of ComfyUI with each suggested pin, as far as there was time.
        shared: Packages that own the same files, when `kind` is `same_files`.
        keep: The packages to choose from with `gov resolve --keep`, the best one first.
        input_hint: The format of pins.
        raw_log: The path of uv's output.
    """

    schema_version: int = SCHEMA_VERSION
    txid: str
    node_id: str
    created_at: str
    kind: Literal[
        "conflict",
        "offline_cache_miss",
        "network",
        "build_failed",
        "stale_lock",
        "not_found",
        "bad_input",
        "other",
        "same_files",
    ]
    confidence: Literal["verified", "unparsed"]
    summary: str
    clash: tuple[RequirementEdge, ...] = ()
    roots: tuple[RequirementEdge, ...] = ()
    edges: tuple[RequirementEdge, ...] = ()
    detected_packages: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    starts: tuple[PinStart, ...] = ()
    shared: tuple[SharedFiles, ...] = ()
    keep: tuple[str, ...] = ()
    input_hint: str = "Use: package==version"
    raw_log: str = ""
