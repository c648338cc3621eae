"""The same no-op jobs through other queues on PostgreSQL; run by benchmarks/jobs.py in an environment of its own.

    python benchmarks/job_peers.py procrastinate|pgqueuer fill|race CONNINFO NUMBER

`fill` creates the tables and the jobs; `race` prints "ready", waits for a line, runs jobs one at a time until none is
left, and prints how many it ran.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

_CHUNK: Final = 1_000


async def fill_procrastinate(conninfo: str, number: int) -> None:
    app, noop = build_procrastinate(conninfo, [])
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for _ in range(0, number, _CHUNK):
            await noop.batch_defer_async(*[{} for _ in range(_CHUNK)])


def build_procrastinate(conninfo: str, done: list[int]) -> tuple[Any, Any]:
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo))

    @app.task(name="noop")
    async def noop() -> None:
        done.append(1)

    return app, noop


async def race_procrastinate(conninfo: str) -> int:
    done: list[int] = []
    app, _ = build_procrastinate(conninfo, done)
    async with app.open_async():
        await wait_for_start()
        await app.run_worker_async(
            concurrency=1, wait=False, listen_notify=False, delete_jobs="never", install_signal_handlers=False
        )
    return len(done)


async def fill_pgqueuer(conninfo: str, number: int) -> None:
    import psycopg
    from pgqueuer.db import PsycopgDriver
    from pgqueuer.queries import Queries

    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        queries = Queries(PsycopgDriver(connection))
        await queries.install()
        for _ in range(0, number, _CHUNK):
            await queries.enqueue(["noop"] * _CHUNK, [None] * _CHUNK, [0] * _CHUNK)


async def race_pgqueuer(conninfo: str) -> int:
    import psycopg
    from pgqueuer import QueueManager
    from pgqueuer.db import PsycopgDriver
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    done: list[int] = []
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        manager = QueueManager(Queries(PsycopgDriver(connection)))

        @manager.entrypoint("noop")
        async def noop(_job: Any) -> None:
            done.append(1)

        await wait_for_start()
        # It refuses to run fewer than twice the batch at a time, so it may hold two jobs.
        await manager.run(batch_size=1, max_concurrent_tasks=2, mode=QueueExecutionMode.drain)
    return len(done)


async def wait_for_start() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def main(queue: str, action: str, conninfo: str, number: int) -> None:
    if action == "fill":
        await {"procrastinate": fill_procrastinate, "pgqueuer": fill_pgqueuer}[queue](conninfo, number)
    else:
        print(await {"procrastinate": race_procrastinate, "pgqueuer": race_pgqueuer}[queue](conninfo))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
