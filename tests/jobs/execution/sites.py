"""A host with a job agent: its folders, its queue on SQLite, and a fake ComfyUI."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comfywatchman.jobs.execution.services import WorkerServices
from comfywatchman.jobs.execution.worker import JobWorker
from comfywatchman.jobs.files.folders import ensure_media_folders
from comfywatchman.jobs.files.monitor import StopSignal
from comfywatchman.jobs.files.workflows import load_workflows
from comfywatchman.jobs.records import MEDIA_OF_TYPE, JobSpec
from comfywatchman.jobs.settings import JobSettings
from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults

LIMIT_SECONDS = 60.0

GRAPHS: dict[str, Any] = {
    "picture": {
        "1": {"class_type": "EmptyImage", "inputs": {"color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
    },
    "seeded": {
        "1": {"class_type": "EmptyImage", "inputs": {"seed": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
    },
    "loaded": {
        "1": {"class_type": "EmptyImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
    },
    "preview": {
        "1": {"class_type": "EmptyImage", "inputs": {"color": 0}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    },
    "text": {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}},
    "sleep": {
        "1": {"class_type": "TestSleep", "inputs": {"seconds": 600.0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
    },
    "short": {
        "1": {"class_type": "TestSleep", "inputs": {"seconds": 0.02}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
    },
    "fail": {"1": {"class_type": "TestFail", "inputs": {}}},
    "unknown": {"1": {"class_type": "NoSuchNode", "inputs": {}}},
}
"""Prompts of the fake ComfyUI, by workflow id."""


def build_name(number: int, job_type: str = "T2I") -> str:
    return f"{job_type}_20260131093000_{number}_cat.yaml"


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class Site:
    """The host.

    Attributes:
        cfg: Its places and limits.
        store: Its queue.
        server: Its ComfyUI.
        worker_id: Its registered worker.
    """

    cfg: JobSettings
    store: JobStore
    server: FakeComfyUI
    worker_id: str

    def add(self, workflow_id: str = "picture", number: int = 1, **changes: Any) -> JobSpec:
        """Queue a job, with its file in the processing tree."""
        path = self.cfg.processing / "image" / build_name(number)
        path.write_text(f"job_type: T2I\nworkflow_id: {workflow_id}\n", "utf-8")
        spec = JobSpec(path.name, "T2I", "image", workflow_id, output_path="image", source_path=str(path))
        spec = replace(spec, **changes)
        self.store.upsert(spec)
        return spec

    @contextmanager
    def work(
        self, services: WorkerServices | None = None, stop_event: StopSignal | None = None, **changes: Any
    ) -> Iterator[JobWorker]:
        """Give a worker."""
        cfg = replace(self.cfg, **changes)
        workflows = load_workflows(cfg.workflows)
        with JobWorker(
            cfg, lambda: workflows, self.store, self.worker_id, host="here", services=services, stop_event=stop_event
        ) as worker:
            yield worker

    def interrupt(self) -> None:
        """Interrupt the running prompt, once there is one; an interrupt that comes before its begin has no effect."""
        prompt_id = self.wait_until_running()
        while self.server.running_id == prompt_id:
            self.server._set_interrupt()
            time.sleep(0.01)

    def restart_comfyui(self) -> None:
        """Let ComfyUI lose its running prompt, its history and its connections, as a restart does."""
        self.wait_until_running()
        self.server.faults.no_history = True
        self.server.close_sockets()
        self.interrupt()

    def wait_until_running(self) -> str:
        """Return the id of the running prompt, once there is one."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while (prompt_id := self.server.running_id) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return prompt_id

    def list_finished(self) -> list[str]:
        """Return the files of the finished tree, relative to it."""
        return sorted(
            str(path.relative_to(self.cfg.finished)) for path in self.cfg.finished.rglob("*") if path.is_file()
        )

    def read_result(self, number: int = 1) -> dict[str, Any]:
        """Return the `result.json` of a job."""
        folder = self.cfg.finished / "image" / Path(build_name(number)).stem
        result: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
        return result


def write_workflows(folder: Path) -> None:
    """Write workflows.yaml with its templates."""
    lines: list[str] = []
    (folder / "config").mkdir(parents=True, exist_ok=True)
    for workflow_id, graph in GRAPHS.items():
        template = folder / "config" / f"{workflow_id}.json"
        template.write_text(json.dumps(graph), "utf-8")
        lines += [f"{workflow_id}:", f"  template_path: {template}", "  required_inputs: []"]
    (folder / "config" / "workflows.yaml").write_text("\n".join(lines), "utf-8")


def build_settings(folder: Path, url: str, *, is_written: bool = False) -> JobSettings:
    """Return settings with every file below a folder, and write the workflows there unless they are written."""
    if not is_written:
        write_workflows(folder)
    workflows = folder / "config" / "workflows.yaml"
    cfg = JobSettings(
        processing=folder / "processing",
        finished=folder / "finished",
        database_url=f"sqlite:///{folder / 'jobs.db'}",
        workflows=workflows,
        global_config=folder / "config" / "global_config.yaml",
        poll_interval_seconds=0.05,
        min_free_disk_gb=0,
        comfyui_url=url,
    )
    ensure_media_folders([cfg.processing, cfg.finished], MEDIA_OF_TYPE.values())
    return cfg


@contextmanager
def open_site(folder: Path, **faults: Any) -> Iterator[Site]:
    """Give a host with an empty queue."""
    with FakeComfyUI(Faults(**faults)) as server:
        cfg = build_settings(folder, server.url)
        with open_store(cfg.database_url) as store:
            worker_id = store.register_worker("here", version="1", lease_seconds=cfg.lease_seconds)
            yield Site(cfg, store, server, worker_id)
