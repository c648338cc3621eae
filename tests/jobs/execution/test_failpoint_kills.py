"""kill -9 between output, database and file move: one published output each, none lost, none doubled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.failpoints import NAMES
from comfywatchman.jobs.execution.publication import ATTEMPTS_FOLDER
from comfywatchman.jobs.records import JobStatus
from tests.jobs.execution.sites import Site, open_site
from tests.jobs.execution.worker_farm import WorkerFarm, open_farm

POINTS = sorted(name for name in NAMES if name.startswith("jobs."))
KILLS = int(os.environ.get("JOB_KILLS", "100"))


def forget_dead_workers(site: Site) -> None:
    """End the leases of killed workers at once, instead of waiting for a minute."""
    for host in site.store.list_hosts():
        for worker in host.workers:
            site.store.unregister_worker(worker.worker_id)


def kill_and_finish(site: Site, farm: WorkerFarm, point: str, number: int) -> None:
    spec = site.add("picture", number)
    farm.run(f"{point}=kill")
    killed = [(host.host, len(host.workers)) for host in site.store.list_hosts()]
    assert sum(count for _host, count in killed) >= 1, "the worker was not killed"
    forget_dead_workers(site)
    farm.run()
    job = site.store.get(spec.config_name)
    assert job.status is JobStatus.DONE
    assert job.run_count <= 2
    assert not Path(spec.source_path).exists()
    stem = Path(spec.config_name).stem
    folder = site.cfg.finished / "image"
    assert sorted(path.name for path in (folder / stem).iterdir()) == ["cat.png", "result.json"]
    assert sorted(path.name for path in folder.glob(f"{stem}*")) == [stem, f"{stem}.yaml"]
    assert list((folder / ATTEMPTS_FOLDER).iterdir()) == []


def check_totals(site: Site, count: int, repeated: int) -> None:
    stats = site.store.stats()
    assert stats.by_status["done"] == stats.total_jobs == count
    # Only a run whose outputs were not published is repeated.
    assert len(site.server.ran) - count == repeated


@pytest.mark.slow
def test_killed_worker_leaves_one_published_output(tmp_path: Path) -> None:
    assert len(POINTS) == 6
    with open_site(tmp_path) as site, open_farm(tmp_path, site.server.url) as farm:
        forget_dead_workers(site)
        for number, point in enumerate(POINTS, 1):
            kill_and_finish(site, farm, point, number)
        check_totals(site, len(POINTS), 1)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("point", POINTS)
def test_hundred_kills_at_each_point_lose_and_double_nothing(tmp_path: Path, point: str) -> None:
    with open_site(tmp_path) as site, open_farm(tmp_path, site.server.url) as farm:
        forget_dead_workers(site)
        for number in range(1, KILLS + 1):
            kill_and_finish(site, farm, point, number)
        check_totals(site, KILLS, KILLS if point == "jobs.after_output_written" else 0)
    print(f"{KILLS} kills at {point}: 0 lost, 0 doubled")  # noqa: T201 - the figure of docs/measurements.md
