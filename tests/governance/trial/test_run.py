from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.governance.trial.outcome import NOT_STARTED, TIMED_OUT, StartOutcome
from comfywatchman.governance.trial.run import start_comfyui
from tests.governance.trial.programs import TrialSite, build_server, ports
from tests.supervisor.programs import is_running

STRAY = """
import subprocess, sys
stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(stray.pid, flush=True)
raise SystemExit(3)
"""


@pytest.fixture
def bench(tmp_path: Path) -> TrialSite:
    site = TrialSite(tmp_path)
    site.stdout.parent.mkdir()
    return site


def start(bench: TrialSite, program: str, *, python: str = sys.executable, **changes: Any) -> StartOutcome:
    (bench.comfyui / "main.py").write_text(program)
    spec = bench.build_spec(**changes)
    return start_comfyui(spec, Path(python), bench.nodes, bench.scratch / "base", (bench.stdout, bench.stderr))


def test_missing_interpreter_is_not_started(bench: TrialSite) -> None:
    outcome = start(bench, "", python=str(bench.folder / "gone"))
    assert (outcome.how, outcome.exit_code) == ("none", NOT_STARTED)
    assert str(bench.folder / "gone") in (outcome.trouble or "")
    assert not bench.scratch.exists()


@pytest.mark.slow
def test_server_is_queried_and_ended(bench: TrialSite) -> None:
    outcome = start(bench, build_server("FAILED = ['other']; print(os.getpid(), flush=True)"))
    assert (outcome.how, outcome.exit_code, outcome.trouble) == ("server", 0, None)
    assert outcome.packs is not None
    assert outcome.packs["Of_mine"] == "custom_nodes.mine"
    assert (set(outcome.failures), outcome.imported) == ({"other"}, frozenset({"mine"}))
    assert outcome.probe is not None
    assert outcome.probe.status == "ok"
    assert not is_running(int(bench.stdout.read_text().split()[0]))


@pytest.mark.slow
def test_exit_is_reported_and_strays_are_ended(bench: TrialSite) -> None:
    outcome = start(bench, STRAY)
    assert (outcome.how, outcome.exit_code) == ("exit", 3)
    assert not is_running(int(bench.stdout.read_text()))


@pytest.mark.slow
def test_silent_start_ends_at_the_time_limit(bench: TrialSite) -> None:
    outcome = start(bench, "import time; time.sleep(600)", timeout_seconds=0.3)
    assert (outcome.how, outcome.exit_code) == ("none", TIMED_OUT)


@pytest.mark.slow
def test_next_port_is_tried_when_one_is_taken(bench: TrialSite) -> None:
    free = find_free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        outcome = start(bench, build_server(), choose_port=ports(taken, free), probe=False)
        assert (outcome.how, outcome.probe) == ("server", None)
        outcome = start(bench, build_server(), choose_port=ports(taken, taken, taken), probe=False)
    assert (outcome.how, outcome.exit_code) == ("none", NOT_STARTED)


@pytest.mark.slow
def test_large_log_is_shortened_in_the_middle(bench: TrialSite) -> None:
    start(bench, "print('first'); print('x' * (3 << 20)); print('last')")
    log = bench.stdout.read_bytes()
    assert len(log) < (2 << 20) + 100
    assert (log[:6], log[-5:]) == (b"first\n", b"last\n")
    assert b"bytes left out" in log
