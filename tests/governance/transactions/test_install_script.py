from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfywatchman.governance.transactions import install_script
from comfywatchman.governance.transactions.install_script import TIMED_OUT, run_install_script


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    environment = tmp_path / "candidate"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    return environment


def run(environment: Path, script: str | None, **variables: str) -> tuple[int | None, str]:
    """Run a script as the install.py of a node; return its status and its standard output."""
    folder = environment.parent / "node"
    folder.mkdir()
    if script is not None:
        (folder / "install.py").write_text(script)
    logs = environment.parent / "stdout.log", environment.parent / "stderr.log"
    status = run_install_script(environment, folder, logs, variables=variables)
    return status, logs[0].read_text() if logs[0].exists() else ""


def test_node_without_a_script_has_no_status(environment: Path) -> None:
    assert run(environment, None) == (None, "")


@pytest.mark.parametrize("status", [0, 3])
def test_exit_status_is_returned(environment: Path, status: int) -> None:
    assert run(environment, f"print('output'); raise SystemExit({status})") == (status, "output\n")


def test_script_runs_in_its_folder_with_the_candidate_first_on_the_path(environment: Path) -> None:
    script = (
        "import os; print(os.getcwd(), os.environ['PATH'].split(':')[0], os.environ['UV_CONFIG_FILE'], os.environ['A'])"
    )
    expected = f"{environment.parent / 'node'} {environment / 'bin'} {environment / 'gov-uv.toml'} b\n"
    assert run(environment, script, A="b") == (0, expected)


@pytest.mark.slow
def test_script_is_ended_at_the_time_limit(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_script, "SCRIPT_SECONDS", 0.3)
    assert run(environment, "import signal; signal.pause()")[0] == TIMED_OUT


@pytest.mark.slow
def test_script_with_too_much_output_is_ended(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_script, "_MAX_LOG_BYTES", 1000)
    assert run(environment, "import signal; print('x' * 2000, flush=True); signal.pause()")[0] == TIMED_OUT
