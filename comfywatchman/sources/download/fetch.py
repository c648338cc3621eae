"""Fetching one file: the right bytes under its name, or nothing under its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.base.text import format_size
from comfywatchman.sources.download.body import receive_body, stop_failure
from comfywatchman.sources.download.limits import DownloadLimits
from comfywatchman.sources.download.partial_file import (
    PartialFile,
    ResumeNote,
    build_partial_name,
    delete_partial,
    open_partial,
)
from comfywatchman.sources.download.redirects import HostPolicy, ResolvedDownload, pin_to_commit, resolve_redirects
from comfywatchman.sources.download.responses import (
    OK,
    PARTIAL,
    RANGE_REFUSED,
    TransientFailure,
    build_status_failure,
    decide_resume,
    read_strong_etag,
    reason_not_model_response,
)
from comfywatchman.sources.download.target import (
    DownloadRequest,
    DownloadResult,
    find_existing_file,
    target_taken_failure,
)

_ATTEMPTS_IN_ALL: Final = 1000
_RESTARTS: Final = 3
_COUNTS_AS_PROGRESS_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 1 << 20
"""Up to this size, a second file beside the first costs more than fetching it again."""

FileCheck = Callable[[int, str, int], Failure | None]
"""Looks at a finished file before it gets its name: descriptor, name and size; a `Failure` says what is wrong."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long trouble is borne.

    Attributes:
        attempts: Attempts in a row that bring next to nothing.
        first_wait_seconds: Before the second of them; it doubles.
        longest_wait_seconds: Longest wait; a server that asks for more is not waited for.
        stall_seconds: Longest silence of a server.
        most_bytes: Largest file, when nobody said its size.
    """

    attempts: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    stall_seconds: float = 30.0
    most_bytes: int = 200 << 30


def download_file(
    wanted: DownloadRequest,
    folder: int,
    *,
    connections: ConnectionPool,
    allowed: HostPolicy,
    patience: RetryPolicy,
    check: FileCheck,
    flow: DownloadLimits,
    now: Callable[[], datetime],
    boot_id: str,
) -> DownloadResult:
    """Fetch a file into a folder, continuing what an earlier run left.

    Whatever happens, the name holds the right bytes or is not there; a file that had it before is never replaced.

    Args:
        wanted: The file.
        folder: Descriptor of the folder.
        connections: The door.
        allowed: Where downloads may come from.
        patience: How long trouble is borne.
        check: Looks at the finished file before it gets its name.
        flow: The run it belongs to.
        now: The wall clock, for a `Retry-After` that is a date.
        boot_id: The kernel's identity of this boot.

    Raises:
        Failure: A `download-…` code, `lock-held`, or `state-unwritable`.
    """
    work = _Download(wanted, folder, connections, allowed, patience, check, flow, now, boot_id)
    try:
        return work.there() or work.fetched()
    except FileExistsError as error:
        # Somebody was faster; if it is the same file, all is well.
        there = work.there()
        if there is None:
            raise target_taken_failure(wanted.name) from error
        return there
    except OSError as error:
        raise unwritable_failure(wanted.name[:200], error) from error


@dataclass(slots=True)
class _Download:
    """One call of `fetch`; the first nine fields are its arguments.

    Attributes:
        part_name: Name of the unfinished file.
        part: The unfinished file.
        note: What belongs to the bytes that are in it.
        has_ended: Whether the server said that there is no more.
        restarts: How often it was begun anew.
        pieces: How many answers its bytes are from.
        received_bytes: What came over the network.
    """

    wanted: DownloadRequest
    folder: int
    connections: ConnectionPool
    allowed: HostPolicy
    patience: RetryPolicy
    check: FileCheck
    flow: DownloadLimits
    now: Callable[[], datetime]
    boot_id: str
    part_name: str = field(init=False)
    part: PartialFile = field(init=False)
    note: ResumeNote = field(init=False)
    has_ended: bool = False
    restarts: int = 0
    pieces: int = 0
    received_bytes: int = 0

    def __post_init__(self) -> None:
        # Made once: the hub may tell the hash later, which is part of the name.
        self.part_name = build_partial_name(self.wanted.name, url=self.wanted.url, sha256=self.wanted.sha256)
        self.note = ResumeNote(boot_id=self.boot_id)

    def there(self) -> DownloadResult | None:
        """Return the right file that has the name already; an unfinished one beside it is needed no more."""
        found = find_existing_file(self.wanted, self.folder, may_go_on=self._may_go_on)
        if found is not None:
            delete_partial(self.folder, self.part_name)
        return found

    def fetched(self) -> DownloadResult:
        """Fetch the file."""
        with open_partial(self.folder, self.part_name) as self.part:
            return self._fetched()

    def _fetched(self) -> DownloadResult:
        resumed = self._take_up()
        self._receive()
        sha256 = self.part.sha256()
        if not self._is_right(sha256) and self.pieces > 1:
            # Pieces of two versions, or bytes that a power cut took; one whole piece tells which.
            self._begin_anew()
            self._receive()
            sha256 = self.part.sha256()
        self._refuse_wrong(sha256)
        self.part.publish(self.wanted.name)
        return DownloadResult(self.part.size, sha256, self.received_bytes, resumed)

    def _take_up(self) -> int:
        part, wanted = self.part, self.wanted
        if not part.size:
            return 0
        note = part.note()
        is_proved = wanted.sha256 is not None or (note.validator is not None and note.boot_id == self.boot_id)
        if not is_proved or (wanted.size is not None and part.size > wanted.size):
            part.begin_anew()
            return 0
        self.note = note
        self.pieces = 1
        if not part.hash_existing(self._may_go_on):
            raise stop_failure()
        return part.size

    def _receive(self) -> None:
        """Take attempts until the file is whole."""
        fruitless = 0
        for _ in range(_ATTEMPTS_IN_ALL):
            if self._is_whole():
                return
            before = self.received_bytes
            try:
                self._attempt()
            except TransientFailure as passing:
                gained = self.received_bytes - before
                enough = min(_COUNTS_AS_PROGRESS_BYTES, (self.wanted.size or _COUNTS_AS_PROGRESS_BYTES) // 100 + 1)
                fruitless = 0 if gained >= enough else fruitless + 1
                self._rest(passing, fruitless)
        if not self._is_whole():
            raise _interruption_failure(f"{self.wanted.name} broke off {_ATTEMPTS_IN_ALL} times.")

    def _is_whole(self) -> bool:
        return self.has_ended or (self.wanted.size is not None and self.part.size == self.wanted.size)

    def _attempt(self) -> None:
        if self.wanted.sha256 is None and self.note.validator is None and self.part.size:
            # Nothing would prove that two pieces are of one file.
            self._begin_anew()
        have = self.part.size
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self.note.validator:
            headers["If-Range"] = self.note.validator
        try:
            url = pin_to_commit(self.wanted.url, self.note.commit)
            found = resolve_redirects(url, headers, connections=self.connections, allowed=self.allowed)
        except Failure as failure:
            if failure.code != "http-unreachable":
                raise
            if self.flow.wait(0):
                raise stop_failure() from failure
            raise TransientFailure(failure.message) from failure
        with found.stream:
            self._take(found, have)

    def _take(self, found: ResolvedDownload, have: int) -> None:
        stream, wanted = found.stream, self.wanted
        if stream.status not in {OK, PARTIAL, RANGE_REFUSED}:
            raise self._refusal(found)
        begin = decide_resume(stream.status, stream.headers, stream.length, have=have, expected=wanted.size)
        if begin is None:
            self._begin_anew()
            raise TransientFailure(f"{stream.place.shown} answered another range than was asked for.")
        if begin.at == "nowhere":
            self.has_ended = True
            return
        self._refuse_early(found, begin.total)
        if begin.at == "zero" and have:
            self._begin_anew()
        if not self.part.size:
            self.note = ResumeNote(read_strong_etag(stream.headers), found.commit, self.boot_id)
        total = wanted.size if wanted.size is not None else begin.total
        if not self.part.size and (total is None or total > _SMALL_BYTES):
            self.part.remember(self.note)
        before = self.part.size
        self.pieces += 1
        try:
            receive_body(
                stream,
                self.part,
                folder=self.folder,
                total=total,
                most_bytes=self.patience.most_bytes if total is None else total,
                stall_seconds=self.patience.stall_seconds,
                flow=self.flow,
            )
        finally:
            self.received_bytes += self.part.size - before
        # A body without an announced length is told whole from cut off by its hash, or by its own end mark.
        if total is not None and self.part.size < total:
            raise TransientFailure(f"{stream.place.shown} broke off after {self.part.size} of {total} bytes.")
        self.has_ended = True

    def _refusal(self, found: ResolvedDownload) -> Failure:
        stream = found.stream
        failure = build_status_failure(
            stream.status, stream.headers, stream.read_beginning(), stream.place.shown, now=self.now()
        )
        if found.is_elsewhere and failure.code == "download-no-access":
            # The hub signed the address of its storage; a signature that is over is had anew with the next attempt.
            return TransientFailure(failure.message, code=failure.code)
        return failure

    def _refuse_early(self, found: ResolvedDownload, total: int | None) -> None:
        """Look at what can be told before a body is taken."""
        wanted, shown = self.wanted, found.stream.place.shown
        reason = reason_not_model_response(found.stream.headers, wanted.name)
        if reason is not None:
            raise _wrong_content_failure(f"{shown} sends {reason} instead of {wanted.name}.")
        sizes = {size for size in (wanted.size, found.size, total) if size is not None}
        if sizes and max(sizes) > self.patience.most_bytes:
            raise _wrong_content_failure(f"{shown} has {format_size(max(sizes))}, more than any model.")
        if len(sizes) > 1:
            shown_sizes = " and ".join(str(size) for size in sorted(sizes))
            raise _wrong_content_failure(f"{shown} has another file now: its size is {shown_sizes} bytes.")
        if not sizes and wanted.sha256 is None and not found.stream.end_is_marked:
            raise _wrong_content_failure(
                f"{shown} does not say how long the file is, so a part of it would look whole."
            )
        if None not in {wanted.sha256, found.sha256} and wanted.sha256 != found.sha256:
            raise _wrong_content_failure(f"{shown} has another file now: its SHA-256 is {found.sha256}.")
        if wanted.sha256 is None and found.sha256 is not None:
            self.wanted = replace(wanted, sha256=found.sha256)

    def _may_go_on(self) -> bool:
        return not self.flow.wait(0)

    def _begin_anew(self) -> None:
        self.restarts += 1
        if self.restarts > _RESTARTS:
            self.part.begin_anew()
            raise _interruption_failure(f"{self.wanted.name} had to be begun anew {_RESTARTS} times.")
        self.part.begin_anew()
        self.note = ResumeNote(boot_id=self.boot_id)
        self.has_ended = False
        self.pieces = 0

    def _rest(self, passing: TransientFailure, fruitless: int) -> None:
        """Wait before the next attempt, or give up."""
        patience = self.patience
        backoff = patience.first_wait_seconds * 2.0 ** max(0, fruitless - 1)
        wait = max(passing.wait_seconds, min(backoff, patience.longest_wait_seconds))
        if fruitless >= patience.attempts or wait > patience.longest_wait_seconds:
            hint = f"Try again in {wait:.0f} seconds." if passing.wait_seconds else "Run the same command again later."
            raise Failure(passing.code, passing.message, hint=hint) from passing
        if self.flow.wait(wait):
            raise stop_failure() from passing

    def _is_right(self, sha256: str) -> bool:
        on_disk = os.fstat(self.part.descriptor).st_size
        return self.wanted.sha256 in {None, sha256} and on_disk == self.part.size == (self.wanted.size or on_disk)

    def _refuse_wrong(self, sha256: str) -> None:
        failure = None
        if not self._is_right(sha256):
            came = f"{self.part.size} bytes with SHA-256 {sha256}"
            failure = _wrong_content_failure(f"{self.wanted.name} is not what was asked for: {came}.")
        failure = failure or self.check(self.part.descriptor, self.wanted.name, self.part.size)
        if failure is not None:
            self.part.discard()
            raise failure


def _wrong_content_failure(message: str) -> Failure:
    hint = "Search again (comfywatchman resolve --refresh): the file may have been replaced."
    return Failure("download-wrong-content", message, hint=hint)


def _interruption_failure(message: str) -> Failure:
    return Failure("download-interrupted", message, hint="Run the same command again: what came is kept.")
