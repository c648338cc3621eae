"""A program that forks workers on demand: a fork costs nothing beside starting Python and importing everything.

It reads lines `FOLDER URL FAILPOINTS`, separated by tabs, and answers with the process id of the worker. `worker_farm`
starts it; a worker runs jobs until the queue of its folder is empty, or until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import FrameType

from comfywatchman.base.failpoints import VARIABLE
from comfywatchman.jobs.execution.worker import JobWorker
from comfywatchman.jobs.files.workflows import load_workflows
from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.jobs.execution.sites import build_settings

LEASE_SECONDS = float(os.environ.get("TEST_LEASE_SECONDS", "60"))
HEARTBEAT_SECONDS = float(os.environ.get("TEST_HEARTBEAT_SECONDS", "15"))


def run_jobs(folder: Path, url: str) -> None:
    """Run jobs until none is pending or processing."""
    cfg = replace(
        # The workflows are there: another worker may be reading them.
        build_settings(folder, url, is_written=True),
        lease_seconds=LEASE_SECONDS,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        retry_limit=1000,
    )
    workflows = load_workflows(cfg.workflows)
    # The tables are there: no worker creates them.
    with open_store(cfg.database_url) as store:
        worker_id = store.register_worker(f"host-{os.getpid()}", version="1", lease_seconds=LEASE_SECONDS)
        with JobWorker(cfg, lambda: workflows, store, worker_id, host="here") as worker:
            worker.settle()
            while is_work_left(store):
                if not worker.run_once():
                    signal.sigtimedwait([], cfg.poll_interval_seconds)
            worker.settle()
        store.unregister_worker(worker.worker_id)


def is_work_left(store: JobStore) -> bool:
    figures = store.stats().by_status
    return figures[JobStatus.PENDING.value] + figures[JobStatus.PROCESSING.value] > 0


def reap(_number: int, _frame: FrameType | None) -> None:
    """Forget workers that ended; who killed them knows."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def import_everything() -> None:
    """Import what the first job would import; no worker has to do it again."""
    import httpx
    import websockets.sync.client  # noqa: F401 - imported for the workers

    httpx.Client(trust_env=False).close()
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/jobs.db"):
        pass


def main() -> None:
    import_everything()
    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        folder, url, failpoints = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.environ[VARIABLE] = failpoints
            status = 1
            try:
                run_jobs(Path(folder), url)
                status = 0
            finally:
                os._exit(status)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
