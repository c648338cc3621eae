from __future__ import annotations

import msgspec
import pytest

from comfywatchman.governance.checks.start import judge
from comfywatchman.governance.trial.production_start import ProductionStart

STARTED = ProductionStart(generation="a", at="2026-11-20T12:00:00Z", has_started=True)
FAILED = ProductionStart(
    generation="a", at="2026-11-20T12:00:00Z", has_started=False, reason="It exited.", log="/root/start.log"
)


def test_failed_start_is_vital() -> None:
    result = judge(FAILED)
    assert (result.status, result.vital) == ("fail", True)
    assert result.evidence == "Production is unproven: ComfyUI did not start in it. It exited."
    assert "/root/start.log" in str(result.action)


@pytest.mark.parametrize(
    ("module", "action"),
    [
        ("cv2", "gov package add opencv-python"),
        ("PIL.Image", "gov package add pillow"),
        ("lostlet", "Find the package of the module lostlet, then: gov package add PACKAGE"),
    ],
)
def test_missing_module_is_not_taken_for_a_package(module: str, action: str) -> None:
    assert judge(msgspec.structs.replace(FAILED, missing_module=module)).action == action


def test_pack_that_cannot_be_imported_warns() -> None:
    broken = ProductionStart(
        generation="a", at="2026-11-20T12:00:00Z", has_started=True, import_failures={"b": "x", "a": "y"}
    )
    result = judge(broken)
    assert (result.status, result.items) == ("warn", ("a", "b"))


def test_production_that_started_or_was_never_tried_is_ok() -> None:
    assert judge(STARTED).status == "ok"
    assert judge(None).status == "ok"
