"""A workspace whose environments run the ComfyUI double, and calls of `comfywatchman supervise` on it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from comfywatchman.cli.main import main
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.mailbox import SwitchState, read_switch_status
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import Workspace

CHECKOUT = Path(__file__).parents[3]
MAIN = f"""
import sys, threading, time
from pathlib import Path
sys.path.insert(0, {str(CHECKOUT)!r})
folder = Path(__file__).parent
if (folder / "exit_at_start").exists():
    print("cannot start", flush=True)
    raise SystemExit(int((folder / "exit_at_start").read_text()))
print("ComfyUI in", folder.parent.name, flush=True)
while (folder / "hold").exists():
    time.sleep(0.05)
from tests.servers.comfyui import main
main()
"""


class SupervisedWorkspace:
    """A comfygit workspace with the environments `main` and `other`, and a home of its own."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / "ws", *names)
        self.metadata = self.workspace.metadata
        for name in names:
            self.workspace.comfyui(name).joinpath("main.py").write_text(MAIN)
        (self.metadata / "workspace.json").write_text(json.dumps({"active_environment": names[0]}))
        (folder / "home").mkdir()
        self.port = find_free_port()
        self.environment = {
            "COMFYWATCHMAN_HOME": str(folder / "home"),
            "COMFYWATCHMAN_SUPERVISOR__WORKSPACE": str(self.workspace.root),
            "COMFYWATCHMAN_SUPERVISOR__PORT": str(self.port),
            "COMFYWATCHMAN_SUPERVISOR__BACKOFF_FIRST_SECONDS": "0.05",
            "COMFYWATCHMAN_SUPERVISOR__BACKOFF_MAX_SECONDS": "0.1",
            "HOME": str(folder),
        }

    def __call__(self, *arguments: str) -> Result:
        """Call a command in this process."""
        return CliRunner().invoke(main, ["supervise", *arguments], env=self.environment)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return the JSON of a command."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output + result.stderr
        content = json.loads(result.stdout)
        assert content["schema_version"] == 1
        return content

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "comfywatchman", "supervise", *arguments]

    def child_environment(self, **variables: str) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
        measured = {name: text for name, text in os.environ.items() if name.startswith("COVERAGE_PROCESS_")}
        return {**self.environment, **own, **measured, **variables}

    def program(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call a command as a child."""
        return subprocess.run(
            self.command(*arguments),
            env=self.child_environment(**variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def on_a_terminal(self, *arguments: str) -> str:
        """Call a command on a terminal of 80 columns; return what it wrote."""
        near, far = pty.openpty()
        child = subprocess.Popen(
            self.command(*arguments),
            env=self.child_environment(TERM="xterm", COLUMNS="80"),
            stdin=far,
            stdout=far,
            stderr=far,
            cwd=self.folder,
        )
        os.close(far)
        screen = b""
        # A pseudo-terminal reports an error once nobody writes to it any more.
        with contextlib.suppress(OSError):
            while block := os.read(near, 65536):
                screen += block
        os.close(near)
        child.wait(timeout=250)
        return screen.decode()

    @contextmanager
    def supervised(self, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run `supervise run` as a child, and end it afterwards."""
        with subprocess.Popen(
            self.command("run", *arguments),
            env=self.child_environment(**variables),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                yield child
            finally:
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)
                try:
                    child.wait(60)
                except subprocess.TimeoutExpired:
                    child.kill()
                    raise

    def wait_for_state(self, state: str, *, timeout_seconds: float = 60.0) -> dict[str, Any]:
        """Wait until the supervisor publishes a state; return the status."""

        def is_there() -> bool:
            return bool(self.read_status().get("state") == state)

        assert wait_until(is_there, timeout_seconds=timeout_seconds), self.read_status()
        return self.read_status()

    def read_status(self) -> dict[str, Any]:
        """Return the published status."""
        try:
            content: dict[str, Any] = json.loads((self.metadata / "supervisor_status.json").read_text())
        except OSError:
            return {}
        return content


@contextmanager
def held(site: SupervisedWorkspace, name: str, *, seconds: float | None = None) -> Iterator[None]:
    """Let starts of an environment wait until the block ends, or until one has waited for some time."""
    hold = site.workspace.comfyui(name) / "hold"
    hold.touch()
    timer = threading.Timer(seconds or 0.0, hold.unlink, kwargs={"missing_ok": True})
    waiting = threading.Thread(target=_start_when_switching, args=(site, timer))
    if seconds is not None:
        waiting.start()
    try:
        yield
    finally:
        hold.unlink(missing_ok=True)
        if seconds is not None:
            waiting.join()
            timer.join()


def _start_when_switching(site: SupervisedWorkspace, timer: threading.Timer) -> None:
    wait_until(lambda: is_switching(site))
    timer.start()


def is_switching(site: SupervisedWorkspace) -> bool:
    """Return whether the next ComfyUI of a switch starts."""
    status = read_switch_status(site.metadata)
    return status is not None and status.state in {SwitchState.STARTING, SwitchState.VALIDATING}


def submit_endless_prompt(site: SupervisedWorkspace) -> None:
    """Submit a prompt that runs until it is interrupted."""
    post(site, "prompt", {"prompt": {"1": {"class_type": "TestSleep", "inputs": {"seconds": 36_000}}}})


def interrupt_later(site: SupervisedWorkspace, seconds: float = 1.0) -> threading.Timer:
    """Interrupt the running prompt after a while."""
    timer = threading.Timer(seconds, post, (site, "interrupt", {}))
    timer.start()
    return timer


def post(site: SupervisedWorkspace, path: str, content: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}/{path}",
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310
        pass
