"""Workers are killed and stopped, ComfyUIs restart and cut connections: every job ends, with one published output."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfywatchman.jobs.records import Actor, Interface, JobStatus
from tests.jobs.execution.sites import Site, build_name, open_site
from tests.jobs.execution.worker_farm import WorkerFarm, is_alive, open_farm
from tests.servers.comfyui import FakeComfyUI

JOBS = int(os.environ.get("CHAOS_JOBS", "3000"))
HOSTS = 3
LEASE_SECONDS = 6.0
JOBS_PER_HARM = 12
ACTOR = Actor("ann", Interface.CLI)
LIMIT_SECONDS = 3400.0


@dataclass
class ChaosRun:
    """Hosts with one worker and one ComfyUI each, and what is done to them.

    Attributes:
        site: The queue and the finished tree that they share.
        farm: Starts the workers.
        servers: The ComfyUI of each host.
        workers: The process of the worker of each host.
        done_to: How often each harm was done.
    """

    site: Site
    farm: WorkerFarm
    servers: list[FakeComfyUI]
    rng: random.Random
    workers: dict[int, int] = field(default_factory=dict)
    done_to: Counter[str] = field(default_factory=Counter)
    timers: list[threading.Timer] = field(default_factory=list)

    def harm(self) -> None:
        """Do one harm to one host."""
        host = self.rng.randrange(len(self.servers))
        names = ("kill", "kill", "stop", "restart", "cut")
        name = self.rng.choice(names)
        self.done_to[name] += 1
        getattr(self, f"do_{name}")(host)

    def do_kill(self, host: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.workers[host], signal.SIGKILL)

    def do_stop(self, host: int) -> None:
        """Stop a worker for longer than its lease."""
        pid = self.workers[host]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self._later(LEASE_SECONDS * 1.5, lambda: self._continue(pid))

    def do_restart(self, host: int) -> None:
        """Let a ComfyUI lose everything that it knows."""
        server = self.servers[host]
        server.forget()
        server.faults.no_history = True
        server._set_interrupt()
        server.close_sockets()
        self._later(0.2, lambda: setattr(server.faults, "no_history", False))

    def do_cut(self, host: int) -> None:
        """Let a ComfyUI answer nothing for a while."""
        server = self.servers[host]
        server.close_sockets()
        server.faults.failing_prefix = "/"
        self._later(0.5, lambda: setattr(server.faults, "failing_prefix", "-"))

    def keep_workers(self) -> None:
        """Start the workers that are missing."""
        for host, server in enumerate(self.servers):
            if host not in self.workers or not is_alive(self.workers[host]):
                self.workers[host] = self.farm.start(url=server.url)

    def _later(self, seconds: float, act: object) -> None:
        timer = threading.Timer(seconds, act)  # type: ignore[arg-type]
        timer.start()
        self.timers.append(timer)

    def _continue(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def settle(self) -> None:
        for timer in self.timers:
            timer.join()


@contextmanager
def open_chaos(folder: Path, seed: int) -> Iterator[ChaosRun]:
    with ExitStack() as stack:
        site = stack.enter_context(open_site(folder))
        site.store.unregister_worker(site.worker_id)
        servers = [site.server, *(stack.enter_context(FakeComfyUI()) for _ in range(HOSTS - 1))]
        farm = stack.enter_context(
            open_farm(
                folder,
                site.server.url,
                TEST_LEASE_SECONDS=str(LEASE_SECONDS),
                TEST_HEARTBEAT_SECONDS=str(LEASE_SECONDS / 6),
            )
        )
        run = ChaosRun(site, farm, servers, random.Random(seed))  # noqa: S311 - chooses what to harm
        yield run
        run.settle()


def run_chaos(run: ChaosRun, count: int) -> None:
    """Run jobs to their end; do a harm after a dozen of them, and when nothing has ended for a while."""
    for number in range(1, count + 1):
        run.site.add("short", number, retry_limit=1000)
    deadline = time.monotonic() + LIMIT_SECONDS
    harmed_at, harmed_seconds = 0, time.monotonic()
    while True:
        run.keep_workers()
        figures = run.site.store.stats().by_status
        if figures["done"] == count:
            break
        if not figures["pending"] and not figures["processing"]:
            retry_quarantined(run.site)
        is_due = figures["done"] >= harmed_at + JOBS_PER_HARM or time.monotonic() > harmed_seconds + LEASE_SECONDS * 2
        if is_due and figures["done"] < count - HOSTS:
            run.harm()
            harmed_at, harmed_seconds = figures["done"], time.monotonic()
        assert time.monotonic() < deadline, figures
        time.sleep(0.1)


def retry_quarantined(site: Site) -> None:
    """Give jobs another chance that were running when their ComfyUI was harmed twice."""
    for job in site.store.list_jobs(JobStatus.QUARANTINED, limit=10_000):
        site.store.retry(job.config_name, actor=ACTOR)


def check_everything(site: Site, count: int) -> None:
    """Check that each job is done, with one published output that is whole, and its file moved."""
    folder = site.cfg.finished / "image"
    published = Counter(path.parent.name for path in folder.glob("*/result.json"))
    stems = [Path(build_name(number)).stem for number in range(1, count + 1)]
    assert published == Counter(stems)
    assert all((folder / stem / "cat.png").read_bytes() == b"\x89PNG made" for stem in stems)
    with site.work() as worker:
        worker.settle()
    assert list(site.cfg.processing.rglob("*.yaml")) == []
    assert site.store.stats().by_status["done"] == count


@pytest.mark.slow
def test_harmed_hosts_lose_and_double_nothing(tmp_path: Path) -> None:
    with open_chaos(tmp_path, seed=7) as run:
        run_chaos(run, 30)
        check_everything(run.site, 30)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_thousands_of_jobs_survive_chaos(tmp_path: Path) -> None:
    with open_chaos(tmp_path, seed=int(os.environ.get("CHAOS_SEED", "1"))) as run:
        run_chaos(run, JOBS)
        check_everything(run.site, JOBS)
        runs = sum(job.run_count for job in run.site.store.list_jobs(limit=JOBS))
    print(f"{JOBS} jobs, {runs} runs, {dict(run.done_to)}: 0 lost, 0 doubled")  # noqa: T201 - docs/measurements.md
