"""Hashes of model files: lazily, within a time budget, each byte read once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol, Self

from comfywatchman.base.files import printable_path
from comfywatchman.readiness.models.index import FileHashes, ModelIndex
from comfywatchman.readiness.models.inventory import FileKey, ModelFile, build_file_key

BLOCK_BYTES: Final = 2 << 20
_BLOCKS: Final = 6
"""Blocks that are being read or hashed at one time; bounds the memory to 12 MiB."""

_MIN_SPEED_SAMPLE_BYTES: Final = 4 << 20
_ASSUMED_BYTES_PER_SECOND: Final = 100 << 20
_BATCH_FILES: Final = 256
_BATCH_SECONDS: Final = 5.0
AUTOV3_FOLDERS: Final = frozenset({"loras"})
"""Where AutoV3 is made in the background: LoRAs are what pictures name by it, and their headers get edited."""

OVERRUN_SECONDS: Final = 120.0
"""How long a file begun within the budget may go on beyond it; the first one always gets at least this."""


@dataclass(frozen=True, slots=True)
class HashingResult:
    """What came of one call.

    Attributes:
        hashed: Files that were hashed.
        waiting: Files that still have no hashes.
        skipped: Why files could not be hashed now, as printable text.
    """

    hashed: int
    waiting: int
    skipped: tuple[str, ...] = ()


class _Digest(Protocol):
    def update(self, block: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _DigestLane:
    """One digest, fed in order by one thread of its own."""

    digest: _Digest
    thread: ThreadPoolExecutor
    skips_bytes: int = 0


class Hasher:
    """Three threads that hash one file after the other; hashlib and blake3 let the interpreter go meanwhile."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._threads = [self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="hash")) for _ in range(3)]
        self._buffers = [bytearray(BLOCK_BYTES) for _ in range(_BLOCKS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hash_file(
        self, path: str, *, may_go_on: Callable[[], bool] = lambda: True, with_autov3: bool = True
    ) -> tuple[FileKey, FileHashes] | str:
        """Hash a file whole in one pass.

        Args:
            path: A regular file.
            may_go_on: Asked before each block; False gives the file up.
            with_autov3: Whether to make AutoV3 too: a second SHA-256 over nearly the same bytes.

        Returns:
            The file's identity and hashes, or why there are none, in words (unreadable, changed meanwhile, given up).
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return f"cannot be opened: {error.strerror}"
        try:
            return self._hash_open(descriptor, may_go_on, with_autov3=with_autov3)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        finally:
            os.close(descriptor)

    def _hash_open(
        self, descriptor: int, may_go_on: Callable[[], bool], *, with_autov3: bool
    ) -> tuple[FileKey, FileHashes] | str:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return "not a regular file"
        lanes = self._lanes(find_data_start(os.pread(descriptor, 9, 0), before.st_size) if with_autov3 else None)
        length = self._feed(descriptor, lanes, may_go_on)
        if length is None:
            return "given up, as it could not be read within the hashing time; raise [models] hash_budget_seconds"
        key = build_file_key(before)
        if length != before.st_size or key != build_file_key(os.fstat(descriptor)):
            return "changed while it was hashed"
        sha256, blake3, *rest = [lane.digest.hexdigest() for lane in lanes]
        return key, FileHashes(sha256, rest[0][:12] if rest else None, blake3)

    def _lanes(self, start: int | None) -> list[_DigestLane]:
        from blake3 import blake3

        lanes = [_DigestLane(hashlib.sha256(), self._threads[0]), _DigestLane(blake3(), self._threads[1])]
        if start is not None:
            lanes.append(_DigestLane(hashlib.sha256(), self._threads[2], start))
        return lanes

    def _feed(self, descriptor: int, lanes: list[_DigestLane], may_go_on: Callable[[], bool]) -> int | None:
        """Read block after block while the lanes digest earlier ones; return the length, or None when given up."""
        busy: list[list[Future[object]]] = [[] for _ in self._buffers]
        position = 0
        turn = 0
        try:
            while may_go_on():
                _wait_for(busy[turn])
                buffer = self._buffers[turn]
                count = os.readv(descriptor, [buffer])
                if count == 0:
                    return position
                busy[turn] = [_submit_block(lane, memoryview(buffer)[:count], position) for lane in lanes]
                position += count
                turn = (turn + 1) % len(self._buffers)
            return None
        finally:
            for work in busy:
                _wait_for(work)


def hash_within_budget(
    files: Iterable[ModelFile],
    index: ModelIndex,
    *,
    budget_seconds: float,
    monotonic: Callable[[], float],
) -> HashingResult:
    """Hash files that have no hashes yet, small ones first, until the budget is used up.

    A file is begun only when it should fit, at the speed seen so far (100 MiB a second as long as it is not known); the
    first one is begun in any case, so that every call gets on. What is done is kept in batches: a kill loses a few
    seconds of work.

    Args:
        files: Models of an inventory; broken ones are passed over, hard links hashed once.
        index: Where hashes are looked up and kept.
        budget_seconds: How long to go on beginning files; 0 or less hashes nothing.
        monotonic: Seconds of a steady clock.
    """
    known = index.hashes()
    waiting = {f.key: f for f in files if f.problem is None and f.format != "diffusers" and f.key not in known}
    run = _HashingRun(sorted(waiting.values(), key=lambda f: (f.size, f.path)), index, monotonic, budget_seconds)
    if budget_seconds > 0 and run.queue:
        with Hasher() as hasher:
            while run.may_begin():
                run.hash_next(hasher)
            run.keep()
    return run.outcome()


class _HashingRun:
    """One call of `hash_some`."""

    def __init__(
        self, queue: list[ModelFile], index: ModelIndex, monotonic: Callable[[], float], budget_seconds: float
    ) -> None:
        self.queue = queue
        self._index = index
        self._monotonic = monotonic
        self._started = self._kept_at = monotonic()
        self._budget = budget_seconds
        self._next = 0
        self._hashed = self._hashed_bytes = 0
        self._skipped: list[str] = []
        self._batch: dict[FileKey, FileHashes] = {}

    def may_begin(self) -> bool:
        """Say whether another file is there and should fit into what is left."""
        if self._next >= len(self.queue):
            return False
        elapsed = self._monotonic() - self._started
        size = self.queue[self._next].size
        # Small files tell of threads that start and of folders, not of how fast this disk is read.
        is_known = self._hashed_bytes >= _MIN_SPEED_SAMPLE_BYTES
        expected = size * elapsed / self._hashed_bytes if is_known else size / _ASSUMED_BYTES_PER_SECOND
        return self._next == 0 or elapsed + expected <= self._budget

    def hash_next(self, hasher: Hasher) -> None:
        """Hash the next file; what stands in the way is noted."""
        model = self.queue[self._next]
        last_moment = self._started + self._budget + OVERRUN_SECONDS
        answer = hasher.hash_file(
            model.path, may_go_on=lambda: self._monotonic() < last_moment, with_autov3=model.folder in AUTOV3_FOLDERS
        )
        self._next += 1
        if isinstance(answer, str):
            self._skipped.append(f"{printable_path(model.path)}: {answer}")
        elif answer[0] != model.key:
            self._skipped.append(f"{printable_path(model.path)}: changed since it was listed")
        else:
            self._batch[model.key] = answer[1]
            self._hashed += 1
            self._hashed_bytes += model.size
        if len(self._batch) >= _BATCH_FILES or self._monotonic() - self._kept_at > _BATCH_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write what was hashed since the last time."""
        self._kept_at = self._monotonic()
        if self._batch:
            self._index.remember_hashes(self._batch)
            self._batch = {}

    def outcome(self) -> HashingResult:
        """Return what came of it."""
        return HashingResult(self._hashed, len(self.queue) - self._hashed, tuple(self._skipped))


def find_data_start(head: bytes, size: int) -> int | None:
    """Return where the data behind a safetensors header begins; None when these are not such a file's first bytes.

    Args:
        head: At least the first nine bytes.
        size: The file's size in bytes.
    """
    start = 8 + int.from_bytes(head[:8], "little")
    return start if head[8:9] == b"{" and start <= size else None


def _submit_block(lane: _DigestLane, block: memoryview, position: int) -> Future[object]:
    wanted = block[max(0, lane.skips_bytes - position) :]
    return lane.thread.submit(lane.digest.update, wanted)


def _wait_for(work: list[Future[object]]) -> None:
    for future in work:
        future.result()
