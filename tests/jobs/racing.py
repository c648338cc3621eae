"""Processes that race for the jobs of one database: `python -m tests.jobs.racing URL BEATS` is one of them.

It leases and ends jobs until none is left, and prints which ones it got and how long each lease took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from comfywatchman.jobs.records import AttemptOutcome, JobSpec, JobStatus, encode_spec
from comfywatchman.jobs.store.job_store import JobStore, open_store
from comfywatchman.jobs.store.tables import DatabaseNow, jobs

_ROOT: Final = Path(__file__).parents[2]
_BATCH: Final = 50_000
_POSTGRESQL_NUMBERS: Final = "generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n"
_SQLITE_NUMBERS: Final = (
    "(WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)"
    " SELECT n FROM numbers)"
)


@dataclass(frozen=True, slots=True)
class Race:
    """What all racers together did.

    Attributes:
        seconds: From the start signal to the end of the last racer.
        leased: The ids of all leased jobs, as the racers saw them.
        lease_seconds: How long each lease took, sorted.
        shares: Number of jobs of each racer.
    """

    seconds: float
    leased: tuple[int, ...]
    lease_seconds: tuple[float, ...]
    shares: tuple[int, ...]

    @property
    def doubled(self) -> int:
        """How many leases went to a job that another racer had too."""
        return len(self.leased) - len(set(self.leased))

    def percentile(self, share: float) -> float:
        """Return the time within which a share of the leases was done, in milliseconds."""
        return 1000 * self.lease_seconds[min(len(self.lease_seconds) - 1, int(share * len(self.lease_seconds)))]


def add_many_jobs(store: JobStore, number: int) -> None:
    """Insert many waiting jobs, in statements that PostgreSQL does not end for their length."""
    name = "T2I_20261130120000_@_noop.yaml"
    spec = JobSpec(config_name=name, job_type="T2I", media="image", workflow_id="noop", output_path="image")
    numbers = _SQLITE_NUMBERS if store.database.is_sqlite else _POSTGRESQL_NUMBERS
    index = sa.cast(sa.literal_column("n"), sa.Text)
    query = sa.select(
        sa.func.replace(name, "@", index),
        sa.literal("T2I"),
        sa.literal("noop"),
        sa.literal("noop"),
        sa.func.replace(encode_spec(spec), "@", index),
        DatabaseNow(),
        DatabaseNow(),
    ).select_from(sa.text(numbers))
    columns = ["config_name", "job_type", "workflow_id", "affinity_key", "spec", "created_at", "updated_at"]
    insert = jobs.insert().from_select(columns, query)
    for first in range(0, number, _BATCH):
        values = {"first": first, "last": min(first + _BATCH, number) - 1}
        store.database.write(partial(sa.Connection.execute, statement=insert, parameters=values))


def run_race(url: str, *, racers: int, beats: int = 0) -> Race:
    """Start processes, let all of them begin at once, and collect what they did."""
    command = [sys.executable, "-m", "tests.jobs.racing", url, str(beats)]
    processes = []
    for _ in range(racers):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT)
        processes.append(process)
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0
        answers.append(json.loads(output))
    return Race(
        seconds=time.perf_counter() - started,
        leased=tuple(job_id for answer in answers for job_id in answer["leased"]),
        lease_seconds=tuple(sorted(seconds for answer in answers for seconds in answer["seconds"])),
        shares=tuple(len(answer["leased"]) for answer in answers),
    )


def main(url: str, beats: int) -> None:
    """Take part in a race."""
    leased = []
    seconds = []
    outcome = AttemptOutcome(success=True)
    with open_store(url) as store:
        worker_id = store.register_worker("racer", version="0", lease_seconds=600)
        store.list_jobs(JobStatus.PENDING, limit=1)
        print("ready", flush=True)
        sys.stdin.readline()
        while True:
            begin = time.perf_counter()
            lease = store.lease_next(worker_id, lease_seconds=600, host="racer")
            if lease is None:
                break
            seconds.append(time.perf_counter() - begin)
            leased.append(lease.job.id)
            for value in range(beats):
                store.beat(worker_id, progress={"value": value})
            assert store.complete(lease, outcome).accepted
    print(json.dumps({"leased": leased, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
