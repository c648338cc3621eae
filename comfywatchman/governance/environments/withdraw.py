"""Undo the first operation of a governed root: before it, nothing was governed."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from comfywatchman.base.files import fsync_folder, unwritable_failure
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Operation


def withdraw(layout: GovLayout, operation: Operation) -> Operation:
    """Move everything that makes a folder a governed root into `undone-<id>` below it.

    ComfyUI's own environment was only read, and is as before. The built environments and wheels stay, so that another
    adoption need not build them again. After a kill, the same call completes it: the record of the operation is
    moved last.

    Raises:
        Failure: `state-unwritable`.
    """
    aside = find_withdrawn_folder(layout, operation.op_id)
    paths = (
        layout.production,
        layout.plugins,
        layout.uv_lock,
        layout.snapshots_index,
        layout.snapshots,
        layout.comfyui,
        layout.start,
        layout.pyproject,
        layout.operations,
    )
    try:
        aside.mkdir(exist_ok=True)
        for path in paths:
            if os.path.lexists(path):
                path.rename(aside / path.name)
        fsync_folder(aside)
        fsync_folder(layout.root)
    except OSError as error:
        raise unwritable_failure(aside, error) from error
    return msgspec.structs.replace(operation, status="undone")


def find_withdrawn_folder(layout: GovLayout, op_id: str) -> Path:
    """Return the folder that the files of an undone first operation are moved to."""
    return layout.root / f"undone-{op_id}"
