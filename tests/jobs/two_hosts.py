"""Two hosts and one PostgreSQL, each in a network namespace: `python -m tests.jobs.two_hosts` in one of its own.

The first host is cut off in mid-job and comes back later. Prints what each one was answered, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from comfywatchman.jobs.store.job_store import open_store
from tests.jobs.jobs import SPEC
from tests.jobs.postgresql import PostgresqlServer

_ROOT: Final = Path(__file__).parents[2]
_PORT: Final = 5432
_DEADLINE_SECONDS: Final = 60


class RemoteHost:
    """A network namespace with a cable to ours, and a worker in it."""

    def __init__(self, name: str, number: int) -> None:
        self.cable = f"cable{number}"
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        namespace = str(self._holder.pid)
        self._wait_for_namespace(namespace)
        inside = ["nsenter", "--target", namespace, "--net"]
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "address", "add", f"10.99.{number}.1/24", "dev", self.cable)
        run("ip", "link", "set", self.cable, "up")
        run(*inside, "ip", "address", "add", f"10.99.{number}.2/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        url = f"postgresql+psycopg://postgres@10.99.{number}.1:{_PORT}/jobs?tcp_user_timeout=1000&connect_timeout=10"
        command = [*inside, sys.executable, "-m", "tests.jobs.remote_worker", url, name]
        self._worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, text=True, bufsize=1
        )
        assert self._read() == "ready"

    def ask(self, command: str) -> Any:
        """Give the worker a command and return its answer."""
        assert self._worker.stdin is not None
        self._worker.stdin.write(command + "\n")
        return self._read()

    def cut(self) -> None:
        """Pull the cable."""
        run("ip", "link", "set", self.cable, "down")

    def connect(self) -> None:
        """Plug the cable in again."""
        run("ip", "link", "set", self.cable, "up")

    def stop(self) -> None:
        """End the worker and the namespace."""
        for process in (self._worker, self._holder):
            process.communicate()

    def _read(self) -> Any:
        assert self._worker.stdout is not None
        return json.loads(self._worker.stdout.readline())

    def _wait_for_namespace(self, namespace: str) -> None:
        ours = Path("/proc/self/ns/net").readlink()
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while Path(f"/proc/{namespace}/ns/net").readlink() == ours:
            assert time.monotonic() < deadline
            time.sleep(0.01)


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
    run("ip", "link", "set", "lo", "up")
    server = PostgresqlServer(port=_PORT, settings=("listen_addresses=*",), trusted=("10.99.0.0/16",))
    hosts: list[RemoteHost] = []
    try:
        with open_store(server.create_database("jobs")) as store:
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
        server.stop()


if __name__ == "__main__":
    print(json.dumps(play()))
