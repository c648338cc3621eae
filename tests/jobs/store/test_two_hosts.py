from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.execution.sites import build_name
from tests.jobs.jobs import SPEC
from tests.jobs.postgresql import find_programs

ROOT = Path(__file__).parents[3]
AS_ROOT = ("unshare", "--net")
AS_USER = ("unshare", "--user", "--map-current-user", "--keep-caps", "--net")


def find_isolation() -> tuple[str, ...]:
    """Return the command that runs a program in a network of its own; skip where that is not permitted."""
    command = AS_ROOT if os.geteuid() == 0 else AS_USER
    try:
        find_programs()
        subprocess.run([*command, "ip", "link", "add", "probe0", "type", "veth"], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no network namespaces, or no PostgreSQL: {error}")
    return command


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_host_that_was_cut_off_loses_its_job_and_is_refused() -> None:
    command = [*find_isolation(), sys.executable, "-m", "tests.jobs.two_hosts"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "first leases": SPEC.config_name,
        "second finds": None,
        "first beats while cut off": "jobs-database-unavailable",
        "second leases": SPEC.config_name,
        "second publishes": True,
        "first publishes": False,
        "first completes": [False, "processing"],
        "second completes": [True, "done"],
        "job": ["done", "second", 2, {"host": "second"}],
        "runs": [["first", "lost", []], ["second", "done", ["second.png"]]],
    }


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_whole_agents_finish_each_others_jobs(tmp_path: Path) -> None:
    command = [*find_isolation(), sys.executable, "-m", "tests.jobs.two_agents", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr + "".join(path.read_text() for path in tmp_path.rglob("agent.log"))
    told = json.loads(ended.stdout)
    runs = [["first", "lost"], ["second", "done"]]
    for case in ("cut", "killed"):
        assert told[case] == {"status": "done", "host": "second", "run_count": 2, "runs": runs}
    names = [Path(build_name(number)).stem for number in (1, 2)]
    # Each file is moved where it was dropped; outputs are where they were made.
    assert told["first"] == [f"image/{name}.yaml" for name in names]
    assert [path for path in told["second"] if path.endswith("result.json")] == [
        f"image/{name}/result.json" for name in names
    ]
