"""Check `storage`: are the snapshots intact, and is there space for the next environment?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import format_size, pluralize
from comfywatchman.governance.checks.check_cache import list_names, stamp_files
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, CheckStatus, shorten_names
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout

LOW_SPACE_BYTES: Final = 2 << 30
"""Free space below which the next environment may not fit: an incremental build of ComfyUI's takes up to this."""

_BLOCK_BYTES: Final = 512
"""The unit of `st_blocks` (POSIX, sys/stat.h), whatever the filesystem's block size."""


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """Snapshots, environments and disk space.

    Attributes:
        snapshot_count: The number of snapshots.
        retention: The number of snapshots that are kept.
        damaged: Snapshots with a changed or missing file.
        environment_count: The number of environments.
        used_bytes: The disk space of all environments; None when there was no time to measure it.
        free_bytes: The free space on that disk; None when it is unknown.
    """

    snapshot_count: int
    retention: int
    damaged: tuple[str, ...] = ()
    environment_count: int = 0
    used_bytes: int | None = None
    free_bytes: int | None = None


def collect(context: CheckContext) -> StorageFacts:
    """Count snapshots and environments, and measure their space; known environments are not measured again."""
    layout = context.layout
    environments = _list_environments(layout)
    snapshot_ids = [meta.id for meta in snapshot.read_all(layout)]
    return StorageFacts(
        snapshot_count=len(snapshot_ids),
        retention=context.gov.settings.rollback.snapshot_retention,
        damaged=_find_damaged(context, snapshot_ids),
        environment_count=len(environments),
        used_bytes=_measure_environments(context, environments),
        free_bytes=_read_free_bytes(layout.root),
    )


def judge(facts: StorageFacts) -> CheckResult:
    """Judge the snapshots and the space that environments take."""
    used = "a size that was not measured" if facts.used_bytes is None else format_size(facts.used_bytes)
    evidence = (
        f"{pluralize(facts.snapshot_count, 'snapshot')} (at most {facts.retention} are kept), "
        f"{pluralize(facts.environment_count, 'environment')}, {used}."
    )
    status: CheckStatus = "ok"
    action = None
    # From the least to the most severe: each one overrules the status and the action before it.
    if facts.used_bytes is None:
        status, action = "unknown", "gov check"
    if facts.free_bytes is not None and facts.free_bytes < LOW_SPACE_BYTES:
        evidence = f"Only {format_size(facts.free_bytes)} are free for the next environment. {evidence}"
        status, action = "warn", "Free disk space, or lower [runtime] keep_generations in the config.toml of the root."
    if facts.damaged:
        names = shorten_names(facts.damaged)
        evidence = f"Damaged snapshots, to which no rollback is possible: {names}. {evidence}"
        status, action = "warn", f"gov snapshot inspect {facts.damaged[0]}"
    items = tuple(sorted(facts.damaged))
    return CheckResult(name=CHECK.name, status=status, evidence=evidence, action=action, items=items)


def _list_environments(layout: GovLayout) -> list[Path]:
    environments = []
    for folder in (layout.generations, layout.candidates):
        environments += [folder / name for name in list_names(folder)]
    return environments


def _find_damaged(context: CheckContext, snapshot_ids: Iterable[str]) -> tuple[str, ...]:
    intact: dict[str, str] = {}
    damaged = []
    for snapshot_id in snapshot_ids:
        folder = context.layout.snapshots / snapshot_id
        stamp = stamp_files(folder / name for name in (*TRUTH_FILES, "meta.json"))
        is_known = context.cache.stored.snapshots.get(snapshot_id) == stamp and not context.budget.is_unlimited
        if is_known or _is_intact(context.layout, snapshot_id):
            intact[snapshot_id] = stamp
        else:
            damaged.append(snapshot_id)
    context.cache.updates["snapshots"] = intact
    return tuple(damaged)


def _is_intact(layout: GovLayout, snapshot_id: str) -> bool:
    try:
        snapshot.read_contents(layout, snapshot_id)
    except Failure:
        return False
    return True


def _measure_environments(context: CheckContext, environments: list[Path]) -> int | None:
    """Return the bytes of all environments; None when there was no time for one.

    Files that environments share with each other or with uv's cache count in each of them.
    """
    sizes: dict[str, int] = {}
    is_complete = True
    for folder in environments:
        cached = context.cache.stored.sizes.get(folder.name)
        if cached is not None and not context.budget.is_full:
            sizes[folder.name] = cached
        elif context.budget.has_time:
            sizes[folder.name] = _measure_folder(folder)
        else:
            is_complete = False
    context.cache.updates["sizes"] = sizes
    return sum(sizes.values()) if is_complete else None


def _measure_folder(folder: Path) -> int:
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * _BLOCK_BYTES
            except OSError:
                continue
    return total


def _read_free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context))


CHECK = Check("storage", _run)
