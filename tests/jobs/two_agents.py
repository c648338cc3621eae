"""Two whole agents on hosts of their own and one PostgreSQL: `python -m tests.jobs.two_agents FOLDER` in a namespace.

The first host is cut off in one job and its agent is killed in another; each time the second host finishes the job.
Prints what came of both, as JSON.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.execution.sites import build_name
from tests.jobs.two_hosts import ROOT, HostNetwork, serve_queue

_LIMIT_SECONDS: Final = 120
_COMFYUI_PORT: Final = 8188
_QUEUE_LENGTH: Final = """
import json, urllib.request
queue = json.load(urllib.request.urlopen("http://127.0.0.1:8188/queue", timeout=60))
print(len(queue["queue_running"]) + len(queue["queue_pending"]))
"""


class AgentHost:
    """A host with a ComfyUI, a home folder, and an agent that can be started, killed and stopped.

    Its workflow `work` takes as long as it is told: the same name stands for another template on each host.
    """

    def __init__(self, folder: Path, name: str, number: int, *, work_seconds: float) -> None:
        self.network = HostNetwork(name, number)
        self.home = folder / name
        self._write_home(work_seconds)
        self._comfyui = self._start("tests.servers.comfyui", f"--port={_COMFYUI_PORT}", stdout=subprocess.PIPE)
        assert self._comfyui.stdout is not None
        assert self._comfyui.stdout.readline()
        self._agent: subprocess.Popen[bytes] | None = None

    def start_agent(self) -> None:
        """Start `comfywatchman jobs start`."""
        options = ("--home", str(self.home), "--config", str(self.home / "config.toml"))
        with (self.home / "agent.log").open("ab") as log:
            self._agent = self._start("comfywatchman", *options, "jobs", "start", stdout=log)

    def end_agent(self, number: signal.Signals) -> None:
        """Send the agent a signal that ends it."""
        if self._agent is not None:
            self._agent.send_signal(number)
            self._agent.wait(_LIMIT_SECONDS)
            self._agent = None

    def drop(self, number: int) -> str:
        """Write a job file; return its name."""
        path = self.home / "jobs" / "processing" / "image" / build_name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("job_type: T2I\nworkflow_id: work\ninputs: {}\noutputs:\n  file_path: image\n", "utf-8")
        return path.name

    def list_finished(self) -> list[str]:
        """Return the files of the finished tree."""
        finished = self.home / "jobs" / "finished"
        return sorted(str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file())

    def count_prompts(self) -> int:
        """Return how many prompts its ComfyUI runs or keeps waiting."""
        asked = subprocess.run(
            [*self.network.inside, sys.executable, "-c", _QUEUE_LENGTH], check=True, capture_output=True
        )
        return int(asked.stdout)

    def remove(self) -> None:
        """End everything."""
        self.network.connect()
        self.end_agent(signal.SIGKILL)
        self._comfyui.kill()
        self._comfyui.communicate()
        self.network.remove()

    def _start(self, module: str, *arguments: str, stdout: Any) -> subprocess.Popen[bytes]:
        command = [*self.network.inside, sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=subprocess.STDOUT)

    def _write_home(self, work_seconds: float) -> None:
        (self.home / "config").mkdir(parents=True)
        graph = {
            "1": {"class_type": "TestSleep", "inputs": {"seconds": work_seconds}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
        }
        template = self.home / "config" / "work.json"
        template.write_text(json.dumps(graph), "utf-8")
        workflows = f"work:\n  template_path: {template}\n  required_inputs: []\n"
        (self.home / "config" / "workflows.yaml").write_text(workflows, "utf-8")
        settings = [
            "[jobs]",
            f'database = "{self.network.database_url}"',
            f'comfyui_url = "http://127.0.0.1:{_COMFYUI_PORT}"',
            "poll_interval_ms = 50",
            "min_free_disk_gb = 0.0",
            "lease_seconds = 6.0",
            "heartbeat_seconds = 1.0",
            "[web]",
            "with_jobs = false",
        ]
        (self.home / "config.toml").write_text("\n".join(settings) + "\n", "utf-8")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def has_submitted(store: JobStore, name: str, host: str) -> bool:
    """Return whether a host has sent the prompt of a job to its ComfyUI."""
    runs = store.attempts(name) if name in {job.config_name for job in store.list_jobs()} else ()
    return bool(runs) and runs[-1].host == host and bool(runs[-1].prompt_ids)


def describe(store: JobStore, name: str) -> dict[str, Any]:
    """Return what the queue holds of a job."""
    job = store.get(name)
    runs = [[run.host, run.outcome] for run in store.attempts(name)]
    return {"status": job.status, "host": job.host, "run_count": job.run_count, "runs": runs}


def play_job(store: JobStore, first: AgentHost, second: AgentHost, number: int, harm: Callable[[], None]) -> str:
    """Let the first host begin a job, do it a harm, and wait until the second one has finished the job."""
    name = first.drop(number)
    wait_for(lambda: has_submitted(store, name, "first") and first.count_prompts() == 1, "the first host begins")
    harm()
    second.start_agent()
    wait_for(lambda: store.get(name).status is JobStatus.DONE, "the second host finishes")
    second.end_agent(signal.SIGINT)
    return name


def play(folder: Path) -> dict[str, Any]:
    """Cut the first host off in one job, and kill its agent in another."""
    hosts: list[AgentHost] = []
    with serve_queue() as store:
        try:
            hosts.append(first := AgentHost(folder, "first", 1, work_seconds=36_000))
            hosts.append(second := AgentHost(folder, "second", 2, work_seconds=0.01))
            first.start_agent()
            cut = play_job(store, first, second, 1, first.network.cut)
            # It cannot write heartbeats, so it has stopped its own prompt.
            wait_for(lambda: first.count_prompts() == 0, "the first host stops its prompt")
            first.network.connect()
            killed = play_job(store, first, second, 2, lambda: first.end_agent(signal.SIGKILL))
            first.start_agent()
            moved = {f"image/{name}" for name in (cut, killed)}
            wait_for(lambda: moved <= set(first.list_finished()), "the first host moves its files")
            first.end_agent(signal.SIGINT)
            return {
                "cut": describe(store, cut),
                "killed": describe(store, killed),
                "first": first.list_finished(),
                "second": second.list_finished(),
            }
        finally:
            for host in hosts:
                host.remove()


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
