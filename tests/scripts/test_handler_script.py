"""`run_handler_local.sh`: what it passes to comfywatchman, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.handler.requests import WORKFLOW, DescribedComfyUI
from tests.hosts import Host

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"
RECORDER = """#!{python}
import json, os, sys
if "verify" in sys.argv:
    sys.exit(int(os.environ["VERIFY_STATUS"]))
print(json.dumps([sys.argv[1:], sys.stdin.read()]))
sys.exit(int(os.environ["RUN_STATUS"]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the scripts beside a program that prints its arguments and its input."""
    folder = tmp_path / "checkout"
    shutil.copytree(SCRIPTS, folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    program = folder / ".venv" / "bin" / "comfywatchman"
    program.parent.mkdir(parents=True)
    program.write_text(RECORDER.format(python=sys.executable))
    program.chmod(0o755)
    (tmp_path / "flow.json").write_text(json.dumps(WORKFLOW))
    return folder


def call(checkout: Path, *arguments: str, verify: int = 0, run: int = 0) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "VERIFY_STATUS": str(verify), "RUN_STATUS": str(run)}
    return subprocess.run(
        [str(checkout / "scripts" / "run_handler_local.sh"), *arguments],
        cwd=checkout.parent,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_workflow_is_passed_on_as_a_request(checkout: Path) -> None:
    called = call(checkout, "--workflow", "flow.json", "--output", "auto", "--url", "http://127.0.0.1:1", "--verbose")
    arguments, request = json.loads(called.stdout)
    assert arguments == ["handler", "run", "-", "--json", "--url", "http://127.0.0.1:1"]
    assert json.loads(request) == {"workflow": WORKFLOW, "output": "auto"}
    assert "is not needed" in called.stderr


@pytest.mark.parametrize(
    ("verify", "run", "status", "has_result"), [(0, 0, 0, True), (0, 1, 1, True), (2, 0, 2, False)]
)
def test_status_is_that_of_the_step_that_failed(
    checkout: Path, verify: int, run: int, status: int, *, has_result: bool
) -> None:
    options = ("--workflow", "flow.json", "--lock", "a.lock.json", "--out-file", "result.json")
    assert call(checkout, *options, verify=verify, run=run).returncode == status
    assert (checkout.parent / "result.json").exists() is has_result
    assert not (checkout.parent / "result.json.partial").exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("--workflow",), ("--workflow", "none.json"), ("--workflow", "flow.json", "--output", "s3"), ("-x",)],
)
def test_wrong_calls_end_with_2(checkout: Path, arguments: tuple[str, ...]) -> None:
    called = call(checkout, *arguments)
    assert (called.returncode, called.stdout) == (2, "")


def test_workflow_runs_on_a_comfyui(checkout: Path, tmp_path: Path) -> None:
    program = checkout / ".venv" / "bin" / "comfywatchman"
    host = Host(tmp_path / "host")
    program.write_text("#!/bin/sh\nexec " + " ".join(map(str, host.command())) + ' "$@"\n')
    with DescribedComfyUI() as server:
        script, workflow = str(checkout / "scripts" / "run_handler_local.sh"), str(tmp_path / "flow.json")
        command = [script, "--workflow", workflow, "--url", server.url]
        called = subprocess.run(command, env=host.environment(), capture_output=True, text=True, check=False)
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["outputs"][0]["type"] == "base64"
