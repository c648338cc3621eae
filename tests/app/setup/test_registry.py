"""The parts of `comfywatchman setup`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.setup import registry
from comfywatchman.app.setup.proposal import SetupChoices, SetupFinding
from comfywatchman.base.errors import Failure


def fail(_session: Session, _choices: SetupChoices) -> Iterator[SetupFinding]:
    raise Failure("comfyui-not-found", "There is none.")


def test_failing_part_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"Broken": f"{__name__}:fail", **registry.PARTS}
    monkeypatch.setattr(registry, "PARTS", parts)
    findings = registry.find_settings(Session(None, None), SetupChoices(tmp_path))
    assert findings[0] == SetupFinding("Broken", "There is none")
    assert {finding.name for finding in findings} >= {"Broken", "ComfyUI", "Python", "Server", "GPU"}
