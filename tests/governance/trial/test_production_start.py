from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.state.state_file import write_state
from comfywatchman.governance.environments import generation
from comfywatchman.governance.trial.production_start import (
    ProductionStart,
    find_missing_module,
    prove_production,
    read_start,
)
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import build_site


@pytest.mark.parametrize(
    ("log", "module"),
    [
        ("Traceback\nModuleNotFoundError: No module named 'requests'\n", "requests"),
        ("ModuleNotFoundError: No module named 'a.b'\nModuleNotFoundError: No module named 'c'\n", "c"),
        ("the words No module named 'x' in a line\n", None),
        ("", None),
    ],
)
def test_missing_module_is_read_from_the_log(log: str, module: str | None) -> None:
    assert find_missing_module(log) == module


@pytest.mark.slow
def test_start_that_fails_leaves_production_unproven(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    assert read_start(site.layout) is None
    (site.comfyui / "main.py").write_text("import lostlet\n")
    with site.opened() as context:
        start = prove_production(context, {})
    assert (start.has_started, start.missing_module) == (False, "lostlet")
    assert "No module named 'lostlet'" in Path(start.log).read_text()
    result = run_checks_on(site)["start"]
    assert (result.status, result.vital) == ("fail", True)
    assert "module lostlet" in str(result.action)
    (site.comfyui / "main.py").write_text("print('up')\n")
    with site.opened() as context:
        assert prove_production(context, {}).has_started
    assert run_checks_on(site)["start"].evidence == "ComfyUI started in production."
    assert not list(site.layout.work.iterdir())


@pytest.mark.slow
def test_start_of_another_environment_does_not_count(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    write_state(site.layout.start, ProductionStart(generation="other", at="2026-11-20T12:00:00Z", has_started=False))
    assert generation.current_key(site.layout) != "other"
    assert read_start(site.layout) is None
    assert run_checks_on(site)["start"].status == "ok"
