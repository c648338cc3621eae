"""A worker on another host, which does what it is told: `python -m tests.jobs.remote_worker URL HOST`.

It reads one command per line and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import sys

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import AttemptOutcome, Lease
from comfywatchman.jobs.store.job_store import JobStore, open_store

LEASE_SECONDS = {"first": 2.0, "second": 600.0}
"""Only the first host is to lose its lease."""


class RemoteWorker:
    """The worker and the lease that it believes in."""

    def __init__(self, store: JobStore, host: str) -> None:
        self.store = store
        self.host = host
        self.worker_id = store.register_worker(host, version="0", lease_seconds=LEASE_SECONDS[host])
        self.held: Lease | None = None

    def obey(self, command: str) -> object:
        """Carry out one command and return its result."""
        if command == "lease":
            lease = self.store.lease_next(self.worker_id, lease_seconds=LEASE_SECONDS[self.host], host=self.host)
            self.held = lease or self.held
            return None if lease is None else lease.job.config_name
        if command == "beat":
            return self.store.beat(self.worker_id)
        if command == "recover":
            return self.store.recover_orphans(worker_id=self.worker_id)
        assert self.held is not None
        if command == "publish":
            return self.store.note_published(self.held, [f"{self.host}.png"])
        answer = self.store.complete(self.held, AttemptOutcome(success=True, metadata={"host": self.host}))
        return [answer.accepted, answer.status]


def main(url: str, host: str) -> None:
    """Obey until the input ends."""
    with open_store(url) as store:
        worker = RemoteWorker(store, host)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            try:
                answer = worker.obey(line.strip())
            except Failure as failure:
                answer = failure.code
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
