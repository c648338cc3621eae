"""The least that the work of a cycle can cost on this machine, as JSON: listing, parsing, hashing.

    python benchmarks/floors.py COMFYUI [--only-hash FOLDER]

A process of its own, so that its memory does not count as that of the programs measured beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUNDS: Final = 3
_BLOCK: Final = 1 << 20


def files_below(folder: str) -> Iterator[str]:
    """Yield every file after one stat of it, by the cheapest calls that Python has."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from files_below(entry.path)
            else:
                entry.stat()
                yield entry.path


def list_all(root: Path) -> None:
    """List and stat the folders that a cycle looks at."""
    for name in ("models", "custom_nodes", "user"):
        for _ in files_below(str(root / name)):
            pass


def parse_workflows(root: Path) -> None:
    """Read every workflow file and parse those that are JSON."""
    for path in files_below(str(root / "user")):
        content = Path(path).read_bytes()
        if path.endswith(".json"):
            orjson.loads(content)


def parse_headers(root: Path) -> None:
    """Read and parse the header of every model file."""
    for path in files_below(str(root / "models")):
        with open(path, "rb", buffering=0) as stream:
            orjson.loads(stream.read(int.from_bytes(stream.read(8), "little")))


def hash_files(folder: Path) -> None:
    """Hash every file below a folder with SHA-256."""
    for path in files_below(str(folder)):
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        digest.hexdigest()


def cpu_seconds(work: Callable[[Path], None], root: Path, rounds: int = _ROUNDS) -> float:
    """Return the least processor time of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work(root)
        best = min(best, time.process_time() - began)
    return best


def main() -> None:
    root = Path(sys.argv[1])
    if "--only-hash" in sys.argv:
        print(json.dumps({"hash": cpu_seconds(hash_files, Path(sys.argv[-1]))}))
        return
    floors = {
        "list": cpu_seconds(list_all, root),
        "parse": cpu_seconds(parse_workflows, root),
        "headers": cpu_seconds(parse_headers, root),
        "hash": cpu_seconds(hash_files, root / "models"),
    }
    print(json.dumps(floors))


if __name__ == "__main__":
    main()
