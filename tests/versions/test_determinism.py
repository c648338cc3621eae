"""The same state gives the same bytes: in any order of folders, locale, time zone and umask, and in any process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from comfywatchman.base.files import to_json
from comfywatchman.versions.collect import collect_version
from tests.versions.hosts import VersionHost, commit_all, install_package, make_host

RECREATE = """
import locale, os, sys
from pathlib import Path
from tests.versions.test_determinism import recreate
try:
    locale.setlocale(locale.LC_ALL, "")
except locale.Error:
    pass
os.umask(int(sys.argv[3], 8))
sys.stdout.buffer.write(recreate(Path(sys.argv[1]), int(sys.argv[2])))
"""


class ShuffledScan:
    """A folder listing in random order, with the interface of `os.scandir`."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        return self._entries

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Close nothing: all entries were read."""

    def close(self) -> None:
        """Close nothing: all entries were read."""


def recreate(folder: Path, seed: int) -> bytes:
    """Return the bytes of the lock of a host, read with folders in an order that the seed decides."""
    shuffle = random.Random(seed).shuffle  # noqa: S311
    list_names, scan = os.listdir, os.scandir

    def list_shuffled(path: str = ".") -> list[str]:
        names = list_names(path)
        shuffle(names)
        return names

    def scan_shuffled(path: str = ".") -> ShuffledScan:
        with scan(path) as found:
            entries = list(found)
        shuffle(entries)
        return ShuffledScan(entries)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "listdir", list_shuffled)
        patch.setattr(os, "scandir", scan_shuffled)
        host = VersionHost(folder, next((folder / ".venv" / "lib").glob("*/site-packages")))
        return to_json(collect_version("first", host.state(), host.tools()))


def make_varied_host(folder: Path) -> VersionHost:
    """Make a host with many names whose order could differ: nodes, files and packages."""
    host = make_host(folder)
    for name in ("Zeta", "alpha", "\u00e4ther", "beta-2", "beta_1"):
        node = host.custom_nodes / name
        (node / "sub").mkdir(parents=True)
        (node / "__init__.py").write_text(f"NAME = {name!r}\n")
        for number in range(5):
            (node / "sub" / f"{number}.js").write_text(name)
    commit_all(host.custom_nodes / "alpha", origin="https://example.org/alpha.git")
    (host.custom_nodes / "alpha" / "__init__.py").write_text("changed\n")
    for number in range(10):
        install_package(host.site, f"p{number}", "1.0")
    install_package(host.site, "p3", "2.0")
    return host


def recreate_in_process(folder: Path, seed: int) -> bytes:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHASHSEED": str(seed),
        "LC_ALL": ("C", "C.UTF-8", "POSIX")[seed % 3],
        "TZ": ("UTC", "Asia/Kathmandu", "America/Adak")[seed % 3],
    }
    mask = ("000", "022", "077")[seed % 3]
    argv = [sys.executable, "-c", RECREATE, str(folder), str(seed), mask]
    return subprocess.run(argv, env=environment, check=True, capture_output=True).stdout


def count_results(folder: Path, *, times: int) -> int:
    host = make_varied_host(folder)
    return len({recreate_in_process(host.root, seed) for seed in range(times)})


@pytest.mark.slow
def test_five_recreations_give_one_lock(tmp_path: Path) -> None:
    assert count_results(tmp_path, times=5) == 1


@pytest.mark.torture
def test_hundred_recreations_give_one_lock(tmp_path: Path) -> None:
    assert count_results(tmp_path, times=100) == 1
