"""The unfinished file beside a download's target: held by one process, hashed as it grows, published in one step."""

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

BLOCK_BYTES: Final = 256 << 10
_WAITING_BLOCKS: Final = 16
_INLINE_BYTES: Final = 4 << 20
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_LONGEST_STEM_BYTES: Final = 200
_NOTE_BYTES: Final = 4096


class ResumeNote(msgspec.Struct, frozen=True):
    """What is kept beside an unfinished file so that it can be continued.

    Attributes:
        validator: Strong entity tag that its bytes came with; None when there was none.
        commit: Commit of the hub that they came from; None when it did not say.
        boot_id: The boot in which they were written: after a power cut, bytes may be lost that the size still counts.
    """

    validator: str | None = None
    commit: str | None = None
    boot_id: str = ""


def build_partial_name(name: str, *, url: str, sha256: str | None) -> str:
    """Return the name of a file's unfinished form: hidden, no model's suffix, and another one for every other origin.

    Every host has its own, because locks between hosts cannot be relied on (NFS, Lustre).

    Args:
        name: File name of the target.
        url: Where it comes from.
        sha256: The hash it must have; two addresses of the same bytes share their unfinished form.
    """
    origin = f"{os.uname().nodename} {sha256 or url}"
    digest = hashlib.sha256(origin.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = os.fsdecode(os.fsencode(name)[:_LONGEST_STEM_BYTES])
    return f".{stem}.{digest}.part"


class StreamingHash:
    """SHA-256 of bytes in their order; large files are hashed beside the work in a thread."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._inline = 0

    def update(self, block: bytes) -> None:
        """Add bytes; waits when too many of them wait already."""
        if self._thread is None:
            self._inline += len(block)
            if self._inline <= _INLINE_BYTES:
                self._hash.update(block)
                return
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._waiting.append(self._thread.submit(self._hash.update, block))
        while len(self._waiting) > _WAITING_BLOCKS or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()

    def hexdigest(self) -> str:
        """Return the hash of everything so far, lower-case hex."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


def hash_descriptor(descriptor: int, may_go_on: Callable[[], bool]) -> str | None:
    """Hash an open file from where it stands to its end; None when it was not allowed to go on."""
    digest = StreamingHash()
    try:
        while block := os.read(descriptor, 4 * BLOCK_BYTES):
            if not may_go_on():
                return None
            digest.update(block)
        return digest.hexdigest()
    finally:
        digest.close()


class PartialFile:
    """An unfinished file, open and locked.

    Attributes:
        descriptor: Of the file.
        size: How many bytes it has.
    """

    def __init__(self, folder: int, name: str, descriptor: int) -> None:
        self._folder = folder
        self._name = name
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._digest = StreamingHash()

    def note(self) -> ResumeNote:
        """Return what was noted when its bytes came; an unreadable note is an empty one."""
        try:
            descriptor = os.open(self._note_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:
            return ResumeNote()
        try:
            return msgspec.json.decode(os.read(descriptor, _NOTE_BYTES), type=ResumeNote)
        except (OSError, ValueError):
            return ResumeNote()
        finally:
            os.close(descriptor)

    def remember(self, note: ResumeNote) -> None:
        """Note where the bytes come from; not flushed, because without it they are merely fetched again."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._note_name, flags, 0o666, dir_fd=self._folder)
        try:
            os.write(descriptor, msgspec.json.encode(note))
        finally:
            os.close(descriptor)

    def hash_existing(self, may_go_on: Callable[[], bool]) -> bool:
        """Hash what is there already; False when it was not allowed to go on."""
        position = 0
        while position < self.size:
            block = os.pread(self.descriptor, 4 * BLOCK_BYTES, position)
            if not block or not may_go_on():
                return False
            self._digest.update(block)
            position += len(block)
        return True

    def append(self, block: bytes) -> None:
        """Write bytes at the end.

        Raises:
            OSError: The disk is full or broken; what was written before counts.
        """
        failpoint("download.write")
        rest = memoryview(block)
        while rest:
            written = os.pwrite(self.descriptor, rest, self.size)
            self._digest.update(bytes(rest[:written]) if written < len(block) else block)
            self.size += written
            rest = rest[written:]

    def begin_anew(self) -> None:
        """Forget all bytes."""
        self._digest.close()
        self._digest = StreamingHash()
        os.ftruncate(self.descriptor, 0)
        self.size = 0
        self._forget_note()

    def sha256(self) -> str:
        """Return the hash of all bytes, lower-case hex; only after `take_up` when the file was not empty at first."""
        return self._digest.hexdigest()

    def publish(self, name: str) -> None:
        """Give the file its name, whole and durable; nothing is replaced.

        Raises:
            FileExistsError: The name is taken; the unfinished file stays.
            OSError: Flushing or renaming failed; the unfinished file stays.
        """
        os.fsync(self.descriptor)
        failpoint("download.before_publish")
        rename_without_replacing(self._name, name, folder=self._folder)
        os.fsync(self._folder)
        failpoint("download.after_publish")
        self._forget_note()

    def discard(self) -> None:
        """Delete the file."""
        self._forget_note()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)

    def close(self) -> None:
        """Let the file go; an empty one is deleted."""
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
        return f"{self._name}.note"

    def _forget_note(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._note_name, dir_fd=self._folder)


def open_partial(folder: int, name: str) -> PartialFile:
    """Open or make an unfinished file and hold it.

    Args:
        folder: Descriptor of its folder.
        name: From `part_name`.

    Raises:
        Failure: `lock-held` when another download writes it, `file-not-regular` when something else bears its name.
        OSError: It cannot be made.
    """
    while True:
        descriptor = _open_regular(folder, name)
        try:
            _lock(descriptor, name)
            found = os.fstat(descriptor)
            if found.st_nlink == 1 and _has_name(descriptor, folder, name):
                return PartialFile(folder, name, descriptor)
            if found.st_nlink > 1:
                # Written to, it would change another file too: a link made by somebody, or by a crash while publishing.
                os.unlink(name, dir_fd=folder)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def delete_partial(folder: int, name: str) -> None:
    """Delete an unfinished file that nobody needs or writes any more."""
    # Opening makes the file when it is not there; then a note without a file, which a crash leaves, goes with it.
    if any(_is_present(folder, one) for one in (name, f"{name}.note")):
        with contextlib.suppress(OSError, Failure), open_partial(folder, name) as part:
            part.discard()


def _open_regular(folder: int, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise _not_regular_failure(name) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _not_regular_failure(name)


def _not_regular_failure(name: str) -> Failure:
    hint = "Move it away; the download needs this name for its unfinished file."
    return Failure("file-not-regular", f"{name} is not a regular file.", hint=hint)


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Failure(
            "lock-held", f"{name} is being written by another download.", hint="Wait until it has ended, or stop it."
        ) from error
    except OSError as error:
        # Some network filesystems have no locks; there, the queue's own lock and the last rename must do.
        if error.errno not in _NO_LOCKS:
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
