from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.governance.environments import generation
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import read_status
from tests.cli.gov.calls import Gov
from tests.supervisor.programs import wait_until

pytestmark = pytest.mark.slow


def test_unsupervised_run_is_replaced_by_comfyui(gov_on: Gov) -> None:
    (gov_on.site.comfyui / "main.py").write_text("import sys; print(sys.prefix, sys.argv[1:]); sys.exit(7)\n")
    ended = gov_on.program("run", "--unsupervised", "--", "--port", "8190")
    key = generation.current_key(gov_on.site.layout)
    assert ended.returncode == 7, ended.stderr
    assert f"/envs/{key} " in ended.stdout
    assert "['--port', '8190']" in ended.stdout


def test_run_proves_production_at_its_configured_port_until_sigterm(gov_on: Gov) -> None:
    paths = [str(Path(__file__).parents[3]), *sys.path[1:]]
    (gov_on.site.comfyui / "main.py").write_text(
        f"import sys; sys.path += {paths!r}; from tests.servers.comfyui import main; main()\n"
    )
    port = find_free_port()
    configuration = gov_on.site.root / "config.toml"
    content = configuration.read_text()
    assert "\nextra_args = []" in content
    configuration.write_text(content.replace("\nextra_args = []", f'\nextra_args = ["--port", "{port}"]'))
    metadata = gov_on.site.root / ".metadata"
    with subprocess.Popen(
        gov_on.command("run"),
        env=gov_on.child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert wait_until(lambda: is_ready(metadata))
        finally:
            child.send_signal(signal.SIGTERM)
        output, _errors = child.communicate(timeout=100)
    assert child.returncode == 0
    assert json.loads((metadata / "supervisor_status.json").read_text())["port"] == port
    assert "Supervising ComfyUI in production." in output
    key = generation.current_key(gov_on.site.layout)
    assert f"/envs/{key}/" in json.loads((metadata / ".startup_state.json").read_text())["python_executable"]


def is_ready(metadata: Path) -> bool:
    status = read_status(metadata, SystemClock())
    return status is not None and status.state is SupervisorState.READY
