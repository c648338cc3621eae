"""Two hosts and one PostgreSQL, each in a network namespace: `python -m tests.jobs.two_hosts` in one of its own.

The first host is cut off in mid-job and comes back later. Prints what each one was answered, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.jobs.jobs import SPEC
from tests.jobs.postgresql import PostgresqlServer

ROOT: Final = Path(__file__).parents[2]
PORT: Final = 5432
_DEADLINE_SECONDS: Final = 60


class HostNetwork:
    """A network namespace with a cable to ours, and a host name of its own.

    Attributes:
        address: Our address at the cable.
        inside: The command that runs a program in it.
    """

    def __init__(self, name: str, number: int) -> None:
        self.address = f"10.99.{number}.1"
        self._cable = f"cable{number}"
        code = f"import socket, sys; socket.sethostname({name!r}); print('named', flush=True); sys.stdin.read()"
        command = ["unshare", "--net", "--uts", sys.executable, "-c", code]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"named\n"
        namespace = str(self._holder.pid)
        self.inside = ("nsenter", "--target", namespace, "--net", "--uts")
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "address", "add", f"{self.address}/24", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        run(*self.inside, "ip", "address", "add", f"10.99.{number}.2/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run(*self.inside, "ip", "link", "set", device, "up")

    @property
    def database_url(self) -> str:
        """The queue, as programs in it reach it; a cut is noticed after a second."""
        return f"postgresql+psycopg://postgres@{self.address}:{PORT}/jobs?tcp_user_timeout=1000&connect_timeout=10"

    def cut(self) -> None:
        """Pull the cable."""
        run("ip", "link", "set", self._cable, "down")

    def connect(self) -> None:
        """Plug the cable in again."""
        run("ip", "link", "set", self._cable, "up")

    def remove(self) -> None:
        """End the namespace, once no program runs in it."""
        self._holder.communicate()


class RemoteHost(HostNetwork):
    """A host with a worker that does what it is told."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        command = [*self.inside, sys.executable, "-m", "tests.jobs.remote_worker", self.database_url, name]
        self._worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
        )
        assert self._read() == "ready"

    def ask(self, command: str) -> Any:
        """Give the worker a command and return its answer."""
        assert self._worker.stdin is not None
        self._worker.stdin.write(command + "\n")
        return self._read()

    def stop(self) -> None:
        """End the worker and the namespace."""
        self._worker.communicate()
        self.remove()

    def _read(self) -> Any:
        assert self._worker.stdout is not None
        return json.loads(self._worker.stdout.readline())


@contextmanager
def serve_queue() -> Iterator[JobStore]:
    """Give an empty queue on a PostgreSQL that both hosts reach by TCP."""
    run("ip", "link", "set", "lo", "up")
    server = PostgresqlServer(port=PORT, settings=("listen_addresses=*",), trusted=("10.99.0.0/16",))
    try:
        with open_store(server.create_database("jobs")) as store:
            yield store
    finally:
        server.stop()


def run(*command: str) -> None:
    """Run a program that must succeed."""
    subprocess.run(command, check=True)


def repeat_until(host: RemoteHost, command: str, answer: object) -> None:
    """Give a command until it is answered as expected."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while host.ask(command) != answer:
        assert time.monotonic() < deadline, command
        time.sleep(0.05)


def play() -> dict[str, Any]:
    """Let one host lose its job to the other, and come back."""
    hosts: list[RemoteHost] = []
    with serve_queue() as store:
        try:
            store.upsert(SPEC)
            first, second = RemoteHost("first", 1), RemoteHost("second", 2)
            hosts += [first, second]
            told: dict[str, Any] = {"first leases": first.ask("lease"), "second finds": second.ask("lease")}
            first.cut()
            told["first beats while cut off"] = first.ask("beat")
            repeat_until(second, "recover", 1)
            told["second leases"] = second.ask("lease")
            told["second publishes"] = second.ask("publish")
            first.connect()
            repeat_until(first, "beat", answer=True)
            told["first publishes"] = first.ask("publish")
            told["first completes"] = first.ask("complete")
            told["second completes"] = second.ask("complete")
            job = store.get(SPEC.config_name)
            told["job"] = [job.status, job.host, job.run_count, job.metadata]
            told["runs"] = [[run.host, run.outcome, list(run.published)] for run in store.attempts(SPEC.config_name)]
            return told
        finally:
            for host in hosts:
                host.connect()
                host.stop()


if __name__ == "__main__":
    print(json.dumps(play()))
