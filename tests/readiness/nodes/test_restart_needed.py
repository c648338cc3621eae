from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.scan import PackListing
from comfywatchman.readiness.nodes.restart_needed import find_restart_reason

STARTED_AT = 1_000_000.0


def pack(folder: str, *, changed_at: float, enabled: bool = True) -> PackListing:
    return PackListing(folder, Path(folder), enabled, (), "", "", newest_ns=int(changed_at * 1e9))


def find_reason(
    *packs: PackListing, started_at: float | None = STARTED_AT, running: str | None = "0.33.0"
) -> str | None:
    return find_restart_reason(started_at, packs, running_version=running, source_version="0.33.0")


def test_pack_that_changed_after_the_start_is_named() -> None:
    assert find_reason(pack("old", changed_at=1.0), pack("new", changed_at=STARTED_AT + 3600)) == (
        "Restart ComfyUI: it still runs the earlier source of new, which changed after its start."
    )


@pytest.mark.parametrize(
    "unchanged",
    [
        pack("old", changed_at=STARTED_AT - 1),
        pack("writes at its import", changed_at=STARTED_AT + 60),
        pack("off", changed_at=STARTED_AT + 3600, enabled=False),
    ],
    ids=["older", "written while it is imported", "disabled"],
)
def test_other_packs_need_no_restart(unchanged: PackListing) -> None:
    assert find_reason(unchanged) is None


def test_start_that_is_not_known_proves_nothing() -> None:
    assert find_reason(pack("new", changed_at=STARTED_AT * 2), started_at=None) is None


def test_other_version_of_the_source_needs_a_restart() -> None:
    assert find_reason(running="0.28.0") == "Restart ComfyUI: 0.28.0 is running, and its source is 0.33.0."
    assert find_reason(running=None) is None
