"""Run the quick tests in several pytest processes, each with files of its own: `python -m scripts.quick_tests`.

Every worker of pytest-xdist imports and collects all tests, and each result passes through a controller. For more than
10,000 tests of a few milliseconds that costs more than the tests themselves. The slow tests, where a balanced load
counts for more, run under pytest-xdist.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
QUICK: Final = "not slow and not real_comfyui and not torture"
MARK_OF_OTHER_FILES: Final = re.compile(r"^pytestmark = \[?pytest\.mark\.(slow|real_comfyui|torture)\b", re.MULTILINE)
"""Files in which no test is quick need not be imported."""

PLUGINS_OF_OTHER_TESTS: Final = ("-p", "no:schemathesis", "-p", "no:xdist", "-p", "no:anyio")
"""Plugins that take half a second to load, and that no quick test uses."""

PROCESSES: Final = 3
"""One more than the two cores of the machine that this was measured on: many tests wait for the disk."""

NO_TESTS: Final = 5
"""Exit status of pytest where nothing is selected."""

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the tests get a private folder in it
BYTES_OF_TEST_FILES: Final = 2 * 1024**3
"""Four times what a run needs, for other programs use the same memory."""


def split_files(sizes: Mapping[Path, int], parts: int) -> list[list[Path]]:
    """Divide files into parts of about the same size, each sorted by path.

    A file's size says enough about how long its quick tests take.
    """
    loads = [0] * parts
    files: list[list[Path]] = [[] for _ in range(parts)]
    for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
        lightest = loads.index(min(loads))
        loads[lightest] += sizes[path]
        files[lightest].append(path)
    return [sorted(part) for part in files if part]


def find_test_files(folder: Path) -> dict[Path, int]:
    """Return the size of each test file in a folder that may have a quick test."""
    return {
        path: path.stat().st_size
        for path in folder.rglob("test_*.py")
        if not MARK_OF_OTHER_FILES.search(path.read_text("utf-8"))
    }


def print_progress(lines: Iterable[str], lock: threading.Lock) -> None:
    """Print lines as they come, but those from the summary on together, so that two summaries never mix."""
    summary: list[str] = []
    for line in lines:
        if summary or line.startswith("="):
            summary.append(line)
        else:
            with lock:
                print(line, end="", flush=True)
    with lock:
        print("".join(summary), end="", flush=True)


def combine_statuses(statuses: Collection[int]) -> int:
    """Return the worst exit status of several pytest processes; one without any selected test counts as passed."""
    failures = set(statuses) - {0, NO_TESTS}
    if failures:
        return max(failures)
    return 0 if 0 in statuses else NO_TESTS


def run_tests(files: Sequence[Path], arguments: Sequence[str], lock: threading.Lock) -> int:
    """Run the quick tests of some files in a process, print its output, and return its exit status."""
    command = [sys.executable, "-m", *arguments, *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        print_progress(process.stdout or (), lock)
    return process.returncode


def find_memory(folder: Path = MEMORY, needed: int = BYTES_OF_TEST_FILES) -> Path | None:
    """Return the folder of shared memory if it has room for the files of the tests.

    Tests write, flush and delete tens of thousands of small files. On a disk, the processes wait for it.
    """
    return folder if folder.is_dir() and shutil.disk_usage(folder).free >= needed else None


def main() -> int:
    """Run the quick tests; further arguments go to pytest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--coverage", action="store_true", help="record coverage")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "tests", help="the tests to run")
    options, rest = parser.parse_known_args()
    arguments = ["coverage", "run", "-m"] if options.coverage else []
    arguments += ["pytest", "-q", *PLUGINS_OF_OTHER_TESTS, "-m", QUICK, *rest]
    parts = split_files(find_test_files(options.folder), PROCESSES)
    lock = threading.Lock()
    with (
        tempfile.TemporaryDirectory(prefix="quick-tests-", dir=find_memory(), ignore_cleanup_errors=True) as files,
        ThreadPoolExecutor(PROCESSES) as pool,
    ):
        # PostgreSQL refuses to run as root, and the other user must reach its folder.
        Path(files).chmod(0o711)
        os.environ["TMPDIR"] = files
        statuses = list(pool.map(lambda files: run_tests(files, arguments, lock), parts))
    return combine_statuses(statuses)


if __name__ == "__main__":
    raise SystemExit(main())
