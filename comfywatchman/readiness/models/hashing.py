"""Hash model files within a time budget, reading each byte once."""

from __future__ import annotations

import hashlib
import itertools
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
"""Number of blocks that are being read or hashed at one time; bounds the memory to 12 MiB."""

_MIN_SPEED_SAMPLE_BYTES: Final = 4 << 20
_ASSUMED_BYTES_PER_SECOND: Final = 100 << 20
_BATCH_FILES: Final = 256
_BATCH_SECONDS: Final = 5.0
_AUTOV3_DIGITS: Final = 12
AUTOV3_FOLDERS: Final = frozenset({"loras"})
"""Folders whose files get an AutoV3 in the background: images name LoRAs by it, since their metadata gets edited."""

OVERRUN_SECONDS: Final = 120.0
"""How long a file started within the budget may continue after it; the first file always gets at least this."""


@dataclass(frozen=True, slots=True)
class HashingResult:
    """Result of one `hash_within_budget` call.

    Attributes:
        hashed: Number of files hashed.
        waiting: Number of files that still have no hashes.
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
    """One digest and the single thread that feeds it in order.

    Attributes:
        digest: The hash under construction.
        thread: A pool of one thread, so that blocks arrive in order.
        skips_bytes: Number of bytes at the start of the file that this digest leaves out.
    """

    digest: _Digest
    thread: ThreadPoolExecutor
    skips_bytes: int = 0


class Hasher:
    """Hashes one file after the other in three threads; hashlib and blake3 release the GIL meanwhile."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._threads: list[ThreadPoolExecutor] = []
        for _ in range(3):
            pool = ThreadPoolExecutor(1, thread_name_prefix="hash")
            self._threads.append(self._stack.enter_context(pool))
        self._buffers = [bytearray(BLOCK_BYTES) for _ in range(_BLOCKS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hash_file(
        self, path: str, *, may_go_on: Callable[[], bool] = lambda: True, with_autov3: bool = True
    ) -> tuple[FileKey, FileHashes] | str:
        """Hash a whole file in one pass.

        Args:
            path: A regular file.
            may_go_on: Called before each block; False aborts the file.
            with_autov3: Whether to compute AutoV3 too: a second SHA-256 over nearly the same bytes.

        Returns:
            The file's identity and hashes, or a text with the reason why there are none (unreadable, changed
            meanwhile, aborted).
        """
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer.
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
        lanes = self._build_lanes()
        if with_autov3:
            data_start = find_data_start(os.pread(descriptor, 9, 0), before.st_size)
            if data_start is not None:
                lanes.append(_DigestLane(hashlib.sha256(), self._threads[2], skips_bytes=data_start))
        length = self._feed_lanes(descriptor, lanes, may_go_on)
        if length is None:
            return "aborted: reading it takes longer than the hashing time; raise [models] hash_budget_seconds"
        # A writer may have changed the file during the read; such hashes would be stored for a wrong content.
        key = build_file_key(before)
        if length != before.st_size or key != build_file_key(os.fstat(descriptor)):
            return "changed while it was hashed"
        sha256, blake3, *others = [lane.digest.hexdigest() for lane in lanes]
        autov3 = None
        if others:
            autov3 = others[0][:_AUTOV3_DIGITS]
        return key, FileHashes(sha256, autov3, blake3)

    def _build_lanes(self) -> list[_DigestLane]:
        from blake3 import blake3

        return [_DigestLane(hashlib.sha256(), self._threads[0]), _DigestLane(blake3(), self._threads[1])]

    def _feed_lanes(self, descriptor: int, lanes: list[_DigestLane], may_go_on: Callable[[], bool]) -> int | None:
        """Read block after block while the lanes digest earlier ones; return the length, or None when aborted."""
        pending: list[list[Future[object]]] = [[] for _ in self._buffers]
        position = 0
        turn = 0
        try:
            while may_go_on():
                # The buffer may be overwritten only when every lane has digested what it held.
                _wait_for(pending[turn])
                buffer = self._buffers[turn]
                count = os.readv(descriptor, [buffer])
                if count == 0:
                    return position
                block = memoryview(buffer)[:count]
                pending[turn] = [_submit_block(lane, block, position) for lane in lanes]
                position += count
                turn = (turn + 1) % len(self._buffers)
            return None
        finally:
            for futures in pending:
                _wait_for(futures)


def hash_within_budget(
    files: Iterable[ModelFile],
    index: ModelIndex,
    *,
    budget_seconds: float,
    monotonic: Callable[[], float],
    on_progress: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> HashingResult:
    """Hash files that have no hashes yet, small ones first, until the time budget is used up.

    A file is started only when it is expected to fit, at the speed measured so far (100 MiB a second until it is
    known). The first one is always started, so that every call makes progress. Results are stored in batches: a kill
    loses a few seconds of work.

    Args:
        files: Models of an inventory; broken ones are skipped, hard links hashed once.
        index: Where hashes are looked up and stored.
        budget_seconds: How long to go on starting files; 0 or less hashes nothing.
        monotonic: Seconds of a steady clock.
        on_progress: Called before each block with the name of the file, the bytes hashed so far, and the bytes of all
            files to hash.
    """
    queue = _select_files(files, index)
    run = _HashingRun(queue, index, monotonic, budget_seconds, on_progress)
    if budget_seconds > 0 and queue:
        with Hasher() as hasher:
            while run.may_begin():
                run.hash_next(hasher)
            run.save_batch()
    return run.result()


def _select_files(files: Iterable[ModelFile], index: ModelIndex) -> list[ModelFile]:
    """Return the files to hash, smallest first; hard links share a key, so they come once."""
    known = index.hashes()
    by_key: dict[FileKey, ModelFile] = {}
    for file in files:
        # A diffusers model is a folder and has no hash of its own.
        if file.problem is None and file.format != "diffusers" and file.key not in known:
            by_key[file.key] = file
    return sorted(by_key.values(), key=lambda file: (file.size, file.path))


class _HashingRun:
    """State of one `hash_within_budget` call."""

    def __init__(
        self,
        queue: list[ModelFile],
        index: ModelIndex,
        monotonic: Callable[[], float],
        budget_seconds: float,
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self._queue = queue
        self._index = index
        self._monotonic = monotonic
        self._started = self._saved_at = monotonic()
        self._budget_seconds = budget_seconds
        self._on_progress = on_progress
        self._total_bytes = sum(model.size for model in queue)
        self._passed_bytes = 0
        self._position = 0
        self._hashed = self._hashed_bytes = 0
        self._skipped: list[str] = []
        self._batch: dict[FileKey, FileHashes] = {}

    def may_begin(self) -> bool:
        """Return whether another file is queued and expected to fit into the rest of the budget."""
        if self._position >= len(self._queue):
            return False
        if self._position == 0:
            return True
        elapsed = self._monotonic() - self._started
        size = self._queue[self._position].size
        # Small files measure the start of threads and the lookup of folders, not the speed of the disk.
        if self._hashed_bytes >= _MIN_SPEED_SAMPLE_BYTES:
            expected = size * elapsed / self._hashed_bytes
        else:
            expected = size / _ASSUMED_BYTES_PER_SECOND
        return elapsed + expected <= self._budget_seconds

    def hash_next(self, hasher: Hasher) -> None:
        """Hash the next file; errors are collected for the result."""
        model = self._queue[self._position]
        self._position += 1
        deadline = self._started + self._budget_seconds + OVERRUN_SECONDS
        blocks = itertools.count()

        def may_go_on() -> bool:
            read_bytes = min(next(blocks) * BLOCK_BYTES, model.size)
            self._on_progress(model.name, self._passed_bytes + read_bytes, self._total_bytes)
            return self._monotonic() < deadline

        outcome = hasher.hash_file(model.path, may_go_on=may_go_on, with_autov3=model.folder in AUTOV3_FOLDERS)
        self._passed_bytes += model.size
        if isinstance(outcome, str):
            self._skipped.append(f"{printable_path(model.path)}: {outcome}")
        else:
            key, hashes = outcome
            self._add(model, key, hashes)
        if len(self._batch) >= _BATCH_FILES or self._monotonic() - self._saved_at > _BATCH_SECONDS:
            self.save_batch()

    def _add(self, model: ModelFile, key: FileKey, hashes: FileHashes) -> None:
        if key != model.key:
            self._skipped.append(f"{printable_path(model.path)}: changed since it was listed")
            return
        self._batch[key] = hashes
        self._hashed += 1
        self._hashed_bytes += model.size

    def save_batch(self) -> None:
        """Store the hashes computed since the last call."""
        self._saved_at = self._monotonic()
        if self._batch:
            self._index.remember_hashes(self._batch)
            self._batch = {}

    def result(self) -> HashingResult:
        """Return the result so far."""
        return HashingResult(self._hashed, len(self._queue) - self._hashed, tuple(self._skipped))


def find_data_start(head: bytes, size: int) -> int | None:
    """Return the offset of the data after a safetensors header; None when this is not the start of such a file.

    Args:
        head: At least the first nine bytes: the header's length (8 bytes, little-endian) and its opening brace.
        size: Size of the file in bytes.
    """
    start = 8 + int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or start > size:
        return None
    return start


def _submit_block(lane: _DigestLane, block: memoryview, position: int) -> Future[object]:
    hashed_part = block[max(0, lane.skips_bytes - position) :]
    return lane.thread.submit(lane.digest.update, hashed_part)


def _wait_for(futures: list[Future[object]]) -> None:
    for future in futures:
        future.result()
