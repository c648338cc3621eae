from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.governance.checks.running_environment import RunningEnvironment, judge
from tests.governance.checks.checked_site import find_environment, run_checks_on
from tests.governance.contexts import Site

SERVE = "import sys\nprint('up', flush=True)\nsys.stdin.read()\n"


@contextmanager
def started(site: Site, python: Path) -> Iterator[None]:
    """Run a main.py that only waits, with an interpreter."""
    (site.comfyui / "main.py").write_text(SERVE)
    command = [str(python), str(site.comfyui / "main.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield
        finally:
            process.communicate(timeout=60)


def test_other_environment_fails_and_earlier_one_warns() -> None:
    earlier = RunningEnvironment(7, "/root/envs/old", is_governed=True)
    foreign = RunningEnvironment(8, "/ComfyUI/venv", is_governed=False)
    assert judge([]).status == "ok"
    assert judge([earlier]).status == "warn"
    result = judge([earlier, foreign])
    assert (result.status, result.vital, result.items) == ("fail", True, ("/ComfyUI/venv",))


@pytest.mark.slow
def test_comfyui_in_production_is_ok(site: Site) -> None:
    for python in (find_environment(site) / "bin" / "python", site.layout.production / "bin" / "python"):
        with started(site, python):
            assert run_checks_on(site)["running-environment"].status == "ok"


@pytest.mark.slow
def test_comfyui_in_its_own_environment_is_found(site: Site, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    with started(site, environment / "bin" / "python"):
        result = run_checks_on(site)["running-environment"]
    assert (result.status, result.items) == ("fail", (str(environment.resolve()),))
