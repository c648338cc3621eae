"""A cycle on a disk that is really full: a small tmpfs with 4 KiB more free space each time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts import Host

PAGE = 4096
LEVELS = 43


@contextmanager
def mount_tmpfs(folder: Path) -> Iterator[None]:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "full", folder], check=False, capture_output=True)
    if mount.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path, *, free_pages: int) -> None:
    """Fill a disk with one file, but for some pages."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            size = file.tell() // PAGE * PAGE
        file.truncate(max(0, size - free_pages * PAGE))


def check_levels(tmp_path: Path, levels: Iterable[int]) -> None:
    host = Host(tmp_path)
    with mount_tmpfs(host.home):
        host.write("first.json")
        assert host.program("--run-cycle").returncode == 0
        workflows = {"first.json"}
        for level in levels:
            host.write(f"level {level}.json", lora=f"absent {level}.safetensors")
            fill(host.home / "filler", free_pages=level)
            ended = host.program("--run-cycle")
            assert b"Traceback" not in ended.stderr, (level, ended.stderr)
            assert ended.returncode in {0, 1}, (level, ended.stderr)
            assert ended.returncode == 0 or b"No space left on device" in ended.stderr, (level, ended.stderr)
            shown = {Path(entry["path"]).name for entry in host.report()["workflows"]}
            assert shown - workflows <= {f"level {level}.json"}, "the report is the old one or the new one"
            assert workflows <= shown
            (host.home / "filler").unlink()
            assert host.program("--run-cycle").returncode == 0, level
            workflows.add(f"level {level}.json")
            assert {Path(entry["path"]).name for entry in host.report()["workflows"]} == workflows
            assert not list(host.home.rglob("*.damaged-*")), level
        acknowledged = [Path(entry.path).name for entry in host.intake()]
        assert sorted(acknowledged) == sorted(workflows), "no workflow is acknowledged twice or never"
        for line in host.layout.history.read_text().splitlines():
            json.loads(line)


@pytest.mark.slow
def test_full_disk_sample(tmp_path: Path) -> None:
    check_levels(tmp_path, (0, 2, 11))


@pytest.mark.torture
def test_full_disk_at_every_level(tmp_path: Path) -> None:
    check_levels(tmp_path, range(LEVELS))
    print(f"{LEVELS} fill levels: 0 bad")  # noqa: T201 - a figure
