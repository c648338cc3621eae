"""How long each page takes until its first byte, beside the same page of an empty host, in the same minute.

    python -m benchmarks.web_pages [--workflows 10000] [--jobs 100000]

The large host has a report of that many workflows, a tenth of which lack something, and that many jobs: half wait, a
hundredth failed of three causes, one runs, the others are done. Each figure is the median of the rounds, over HTTP.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import msgspec
import sqlalchemy as sa

from comfywatchman.base.clock import SystemClock, format_utc
from comfywatchman.jobs.records import encode_spec
from comfywatchman.jobs.store.job_store import JobStore, open_store
from comfywatchman.jobs.store.tables import jobs
from comfywatchman.readiness.report.write import to_json
from comfywatchman.readiness.states import WorkflowStatus
from tests.jobs.jobs import build_spec, lease, start_worker
from tests.readiness.report.sample_reports import entry, status
from tests.web.chromium import serve_site
from tests.web.site import Site, build_site

PATHS: Final = (
    "/",
    "/workflows",
    "/queue",
    "/queue?status=waiting",
    "/queue?status=failed",
    "/queue?status=done",
    "/queue?fragment=running",
    "/models",
    "/environment",
    "/server",
    "/hosts",
    "/settings",
    "/api/queue",
    "/api/stats",
)
_BATCH: Final = 10_000
_ROUNDS: Final = 15


def write_report(site: Site, comfyui: Path, workflows: int) -> None:
    """Write a report of many workflows about a ComfyUI."""
    kinds = [WorkflowStatus.MISSING if number % 10 == 0 else WorkflowStatus.READY for number in range(workflows)]
    entries = [
        entry(f"/w/{number}.json", kind, text=f"w{number}", models=int(kind is WorkflowStatus.MISSING))
        for number, kind in enumerate(kinds)
    ]
    now = SystemClock().now()
    report = status(*entries)
    site.host.session.comfyui_option = comfyui
    watched = site.host.session.watched_comfyui()
    report = msgspec.structs.replace(
        report,
        comfyui=watched,
        checked_at=format_utc(now),
        generated_at=format_utc(now),
        valid_until=format_utc(now + timedelta(hours=2)),
    )
    path = site.host.session.layout.status_json
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(report))


def add_many_jobs(store: JobStore, count: int) -> None:
    """Add many jobs, in every state."""
    start_worker(store)
    spec = encode_spec(build_spec(1))
    now = time.time()

    def build_row(number: int) -> dict[str, object]:
        state = "failed" if number % 100 == 0 else "pending" if number % 2 else "done"
        return {
            "config_name": f"T2I_20261130120000_{number}_cat.yaml",
            "job_type": "T2I",
            "workflow_id": f"workflow-{number % 50}",
            "status": state,
            "affinity_key": "a",
            "spec": spec,
            "created_at": now,
            "updated_at": now,
            "start_time": None if state == "pending" else now,
            "end_time": None if state == "pending" else now,
            "duration": 3.0 if state == "done" else None,
            "error_code": "node-error" if state == "failed" else None,
            "error_trace": f"cause {number % 3}\n{'x' * 500}" if state == "failed" else None,
        }

    for begin in range(1, count + 1, _BATCH):
        rows = [build_row(number) for number in range(begin, min(begin + _BATCH, count + 1))]

        def insert(connection: sa.Connection, batch: list[dict[str, object]] = rows) -> None:
            connection.execute(jobs.insert(), batch)

        store.database.write(insert)
    lease(store, start_worker(store))


@contextmanager
def serve_host(folder: Path, *, workflows: int, job_count: int) -> Iterator[httpx.Client]:
    """Serve a host and yield a client."""
    comfyui = folder / "ComfyUI"
    comfyui.mkdir(parents=True)
    (comfyui / "main.py").write_text("")
    (comfyui / "nodes.py").write_text("")
    (comfyui / "folder_paths.py").write_text("")
    with open_store(f"sqlite:///{folder / 'jobs.db'}") as store:
        site = build_site(folder / "home", store, comfyui=comfyui)
        write_report(site, comfyui, workflows)
        if job_count:
            add_many_jobs(store, job_count)
        if site.host.read_master_status() is None:
            raise SystemExit(f"The report of the benchmark is not valid: {site.host.explain_missing_report()}")
        with serve_site(site) as url, httpx.Client(base_url=url, timeout=120) as client:
            yield client


def measure(clients: Sequence[httpx.Client], path: str) -> list[float]:
    """Return the median time until the first byte at each host, in milliseconds; the first round is not counted.

    The hosts are asked in turn, so that other work of the machine slows all of them down.
    """
    times: list[list[float]] = [[] for _ in clients]
    for _ in range(_ROUNDS + 1):
        for client, measured in zip(clients, times, strict=True):
            begin = time.perf_counter()
            with client.stream("GET", path) as response:
                measured.append(1000 * (time.perf_counter() - begin))
                response.read()
                response.raise_for_status()
    return [statistics.median(measured[1:]) for measured in times]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workflows", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["HOME"] = text
        empty = serve_host(folder / "empty", workflows=0, job_count=0)
        large = serve_host(folder / "large", workflows=options.workflows, job_count=options.jobs)
        with empty as small_client, large as large_client:
            print(f"{'page':28}{'empty':>9}{'large':>9}{'ratio':>7}")
            for path in PATHS:
                few, many = measure((small_client, large_client), path)
                print(f"{path:28}{few:>6.1f} ms{many:>6.1f} ms{many / few:>7.1f}")


if __name__ == "__main__":
    main()
