"""The partial file of a download: resumed, locked by one process, hashed as it grows, published by one rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Self

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.filesystem import rename_without_replacing
from comfywatchman.base.json_values import decode_json

BLOCK_BYTES: Final = 256 << 10
_READ_BYTES: Final = 4 * BLOCK_BYTES
_MAX_QUEUED_BLOCKS: Final = 16
_INLINE_BYTES: Final = 4 << 20
_NO_LOCK_SUPPORT: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_MAX_STEM_BYTES: Final = 200
_MAX_NOTE_BYTES: Final = 4096


class ResumeNote(msgspec.Struct, frozen=True):
    """Stored beside a partial file so that it can be resumed.

    Attributes:
        validator: Strong entity tag of the response; None when it had none.
        commit: Commit that the hub served the file from; None when it did not give one.
        boot_id: The boot in which the bytes were written. After a power cut, the file size may count bytes that were
            never written to the disk.
    """

    validator: str | None = None
    commit: str | None = None
    boot_id: str = ""


def build_partial_name(name: str, *, url: str, sha256: str | None) -> str:
    """Return the name of a partial file: hidden, without a model's suffix, and different for each origin and host.

    Args:
        name: File name of the target.
        url: Its address.
        sha256: Its expected hash; two addresses of the same bytes share their partial file.
    """
    # Hosts do not share partial files, because locks between them are unreliable (NFS, Lustre).
    origin = f"{os.uname().nodename} {sha256 or url}"
    digest = hashlib.sha256(origin.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = os.fsdecode(os.fsencode(name)[:_MAX_STEM_BYTES])
    return f".{stem}.{digest}.part"


class StreamingHash:
    """SHA-256 of consecutive blocks; from 4 MiB on, a thread hashes while the caller reads and writes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._queued: deque[Future[None]] = deque()
        self._inline_bytes = 0

    def update(self, block: bytes) -> None:
        """Add a block; waits when too many blocks are queued."""
        if self._thread is None:
            self._inline_bytes += len(block)
            if self._inline_bytes <= _INLINE_BYTES:
                self._hash.update(block)
                return
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._queued.append(self._thread.submit(self._hash.update, block))
        while len(self._queued) > _MAX_QUEUED_BLOCKS or (self._queued and self._queued[0].done()):
            self._queued.popleft().result()

    def hexdigest(self) -> str:
        """Return the hash of all blocks so far, lower-case hex."""
        while self._queued:
            self._queued.popleft().result()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


def hash_descriptor(descriptor: int, may_go_on: Callable[[], bool]) -> str | None:
    """Return the SHA-256 of an open file from its current position to its end; None when stopped."""
    digest = StreamingHash()
    try:
        while block := os.read(descriptor, _READ_BYTES):
            if not may_go_on():
                return None
            digest.update(block)
        return digest.hexdigest()
    finally:
        digest.close()


class PartialFile:
    """An open and locked partial file.

    Attributes:
        descriptor: Its file descriptor.
        size: Its size in bytes.
    """

    def __init__(self, folder: int, name: str, descriptor: int) -> None:
        self._folder = folder
        self._name = name
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._digest = StreamingHash()

    def read_note(self) -> ResumeNote:
        """Return the note beside the file; an empty one when it is missing or unreadable."""
        try:
            descriptor = os.open(self._note_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:
            return ResumeNote()
        try:
            return decode_json(os.read(descriptor, _MAX_NOTE_BYTES), ResumeNote)
        except (OSError, ValueError):
            return ResumeNote()
        finally:
            os.close(descriptor)

    def write_note(self, note: ResumeNote) -> None:
        """Write the note beside the file."""
        # Not flushed: without a note the bytes are merely downloaded again.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._note_name, flags, 0o666, dir_fd=self._folder)
        try:
            os.write(descriptor, msgspec.json.encode(note))
        finally:
            os.close(descriptor)

    def hash_existing(self, may_go_on: Callable[[], bool]) -> bool:
        """Hash the bytes of an earlier run; False when stopped."""
        position = 0
        while position < self.size:
            block = os.pread(self.descriptor, _READ_BYTES, position)
            if not block or not may_go_on():
                return False
            self._digest.update(block)
            position += len(block)
        return True

    def append(self, block: bytes) -> None:
        """Write a block at the end.

        Raises:
            OSError: The disk is full or broken; bytes written before it are kept.
        """
        failpoint("download.write")
        rest = memoryview(block)
        while rest:
            written = os.pwrite(self.descriptor, rest, self.size)
            # Usually everything is written at once, and the block needs no copy for the hash.
            self._digest.update(block if written == len(block) else bytes(rest[:written]))
            self.size += written
            rest = rest[written:]

    def clear(self) -> None:
        """Remove all bytes and the note."""
        self._digest.close()
        self._digest = StreamingHash()
        os.ftruncate(self.descriptor, 0)
        self.size = 0
        self._delete_note()

    def sha256(self) -> str:
        """Return the hash of all bytes, lower-case hex; bytes of an earlier run need `hash_existing` first."""
        return self._digest.hexdigest()

    def publish(self, name: str) -> None:
        """Flush the file and rename it to its final name, without replacing anything.

        Raises:
            FileExistsError: The name is taken; the partial file stays.
            OSError: Flushing or renaming failed; the partial file stays.
        """
        os.fsync(self.descriptor)
        failpoint("download.before_publish")
        rename_without_replacing(self._name, name, folder=self._folder)
        os.fsync(self._folder)
        failpoint("download.after_publish")
        self._delete_note()

    def discard(self) -> None:
        """Delete the file and its note."""
        self._delete_note()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)

    def close(self) -> None:
        """Close the file, which releases its lock; an empty one is deleted."""
        self._digest.close()
        with contextlib.suppress(OSError):
            if self.size == 0 and _has_name(self.descriptor, self._folder, self._name):
                self.discard()
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _note_name(self) -> str:
        return _note_name(self._name)

    def _delete_note(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._note_name, dir_fd=self._folder)


def open_partial(folder: int, name: str) -> PartialFile:
    """Open or create a partial file and lock it.

    Args:
        folder: Descriptor of its folder.
        name: From `build_partial_name`.

    Raises:
        Failure: `lock-held` when another download writes it, `file-not-regular` when it is not a regular file.
        OSError: It cannot be created.
    """
    while True:
        descriptor = _open_regular(folder, name)
        try:
            _lock(descriptor, name)
            link_count = os.fstat(descriptor).st_nlink
            # Between open and lock, another process may have published or deleted the file.
            if link_count == 1 and _has_name(descriptor, folder, name):
                return PartialFile(folder, name, descriptor)
            if link_count > 1:
                # A hard link, by a user or by a crash while publishing: writing would change the other file as well.
                os.unlink(name, dir_fd=folder)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def delete_partial(folder: int, name: str) -> None:
    """Delete a partial file and its note, unless another download is writing it."""
    # Opening creates a missing file, so that a note which a crash left without its file is deleted as well.
    if _is_present(folder, name) or _is_present(folder, _note_name(name)):
        with contextlib.suppress(OSError, Failure), open_partial(folder, name) as part:
            part.discard()


def _note_name(name: str) -> str:
    return f"{name}.note"


def _open_regular(folder: int, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    except OSError as error:
        # A symbolic link, a folder or a FIFO without a reader.
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise _not_regular_failure(name) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _not_regular_failure(name)


def _not_regular_failure(name: str) -> Failure:
    hint = "Move it away; the download needs this name for its partial file."
    return Failure("file-not-regular", f"{name} is not a regular file.", hint=hint)


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Failure(
            "lock-held", f"Another download is writing {name}.", hint="Wait until it has ended, or stop it."
        ) from error
    except OSError as error:
        # Some network filesystems have no locks; there, the lock of the queue and the final rename must suffice.
        if error.errno not in _NO_LOCK_SUPPORT:
            raise


def _is_present(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _has_name(descriptor: int, folder: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False
