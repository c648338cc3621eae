"""Fetching one file: the right bytes under its name, or nothing under its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import Connections
from comfywatchman.sources.answers import (
    OK,
    PARTIAL,
    RANGE_REFUSED,
    Passing,
    how_to_begin,
    reason_no_model,
    refusal,
    validator_of,
)
from comfywatchman.sources.flow import Flow
from comfywatchman.sources.hops import Allowed, Found, follow, pinned
from comfywatchman.sources.partial import Note, Part, open_part, part_name, sha256_of, sweep_part
from comfywatchman.sources.transfer import stopped, take_body

_ATTEMPTS_IN_ALL: Final = 1000
_RESTARTS: Final = 3
_COUNTS_AS_PROGRESS_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 1 << 20
"""Up to this size, a second file beside the first costs more than fetching it again."""

Check = Callable[[int, str, int], Failure | None]
"""Looks at a finished file before it gets its name: descriptor, name and size; a `Failure` says what is wrong."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file to fetch.

    Attributes:
        name: Its file name, already found safe.
        url: Where it is.
        size: In bytes; None when nobody said.
        sha256: Lower-case hex; None when nobody said.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Patience:
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


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a fetch.

    Attributes:
        size: Of the file, in bytes.
        sha256: Of its bytes, as they were written; lower-case hex.
        received_bytes: What came over the network for it this time.
        resumed_from: How many bytes were there from an earlier run.
        was_there: Whether the right file had its name already.
    """

    size: int
    sha256: str
    received_bytes: int
    resumed_from: int
    was_there: bool = False


def fetch(
    wanted: Fetch,
    folder: int,
    *,
    connections: Connections,
    allowed: Allowed,
    patience: Patience,
    check: Check,
    flow: Flow,
    now: Callable[[], datetime],
    boot_id: str,
) -> Fetched:
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
    work = _Work(wanted, folder, connections, allowed, patience, check, flow, now, boot_id)
    try:
        return work.there() or work.fetched()
    except FileExistsError as error:
        # Somebody was faster; if it is the same file, all is well.
        there = work.there()
        if there is None:
            raise target_taken(wanted.name) from error
        return there
    except OSError as error:
        raise Failure("state-unwritable", f"{wanted.name[:200]} cannot be written: {error.strerror}.") from error


def already_there(wanted: Fetch, folder: int, *, may_go_on: Callable[[], bool]) -> Fetched | None:
    """Return the file that has the name already, when it is the wanted one; None when the name is free.

    Raises:
        Failure: `download-target-taken` when it is another file, or nobody can say; `download-stopped`.
    """
    try:
        descriptor = os.open(wanted.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError as error:
        if wanted.name in os.listdir(folder):
            raise target_taken(wanted.name, "a link to nowhere") from error
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise target_taken(wanted.name, "no regular file")
        if wanted.sha256 is None or found.st_size != (wanted.size or found.st_size):
            raise target_taken(wanted.name, f"a file of {found.st_size} bytes")
        sha256 = sha256_of(descriptor, may_go_on)
        if sha256 is None:
            raise stopped()
        if sha256 != wanted.sha256:
            raise target_taken(wanted.name, f"a file with SHA-256 {sha256[:12]}…")
        return Fetched(found.st_size, sha256, 0, 0, was_there=True)
    finally:
        os.close(descriptor)


def target_taken(name: str, what: str = "another file") -> Failure:
    """Return the failure of a name that is taken."""
    return Failure(
        "download-target-taken",
        f"{name} is there already: {what}.",
        hint="Look at it (comfywatchman inspect), then move it away or leave it.",
    )


class _Work:
    """One call of `fetch`."""

    _part: Part

    def __init__(  # noqa: PLR0917 - called once, just above
        self,
        wanted: Fetch,
        folder: int,
        connections: Connections,
        allowed: Allowed,
        patience: Patience,
        check: Check,
        flow: Flow,
        now: Callable[[], datetime],
        boot_id: str,
    ) -> None:
        self._wanted = wanted
        self._folder = folder
        self._part_name = part_name(wanted.name, url=wanted.url, sha256=wanted.sha256)
        self._connections = connections
        self._allowed = allowed
        self._patience = patience
        self._check = check
        self._flow = flow
        self._now = now
        self._boot_id = boot_id
        self._note = Note(boot_id=boot_id)
        self._ended = False
        self._restarts = 0
        self._pieces = 0
        self._received = 0

    def there(self) -> Fetched | None:
        """Return the right file that has the name already; an unfinished one beside it is needed no more."""
        found = already_there(self._wanted, self._folder, may_go_on=self._may_go_on)
        if found is not None:
            sweep_part(self._folder, self._part_name)
        return found

    def fetched(self) -> Fetched:
        """Fetch the file."""
        with open_part(self._folder, self._part_name) as self._part:
            return self._fetched()

    def _fetched(self) -> Fetched:
        resumed = self._take_up()
        self._receive()
        sha256 = self._part.sha256()
        if not self._is_right(sha256) and self._pieces > 1:
            # Pieces of two versions, or bytes that a power cut took; one whole piece tells which.
            self._begin_anew()
            self._receive()
            sha256 = self._part.sha256()
        self._refuse_wrong(sha256)
        self._part.publish(self._wanted.name)
        return Fetched(self._part.size, sha256, self._received, resumed)

    def _take_up(self) -> int:
        part, wanted = self._part, self._wanted
        if not part.size:
            return 0
        note = part.note()
        is_proved = wanted.sha256 is not None or (note.validator is not None and note.boot_id == self._boot_id)
        if not is_proved or (wanted.size is not None and part.size > wanted.size):
            part.begin_anew()
            return 0
        self._note = note
        self._pieces = 1
        if not part.take_up(self._may_go_on):
            raise stopped()
        return part.size

    def _receive(self) -> None:
        """Take attempts until the file is whole."""
        fruitless = 0
        for _ in range(_ATTEMPTS_IN_ALL):
            if self._is_whole():
                return
            before = self._received
            try:
                self._attempt()
            except Passing as passing:
                gained = self._received - before
                enough = min(_COUNTS_AS_PROGRESS_BYTES, (self._wanted.size or _COUNTS_AS_PROGRESS_BYTES) // 100 + 1)
                fruitless = 0 if gained >= enough else fruitless + 1
                self._rest(passing, fruitless)
        if not self._is_whole():
            raise Failure("download-interrupted", f"{self._wanted.name} broke off {_ATTEMPTS_IN_ALL} times.")

    def _is_whole(self) -> bool:
        return self._ended or (self._wanted.size is not None and self._part.size == self._wanted.size)

    def _attempt(self) -> None:
        if self._wanted.sha256 is None and self._note.validator is None and self._part.size:
            # Nothing would prove that two pieces are of one file.
            self._begin_anew()
        have = self._part.size
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self._note.validator:
            headers["If-Range"] = self._note.validator
        try:
            url = pinned(self._wanted.url, self._note.commit)
            found = follow(url, headers, connections=self._connections, allowed=self._allowed)
        except Failure as failure:
            if failure.code != "http-unreachable":
                raise
            if self._flow.wait(0):
                raise stopped() from failure
            raise Passing(failure.message) from failure
        with found.stream:
            self._take(found, have)

    def _take(self, found: Found, have: int) -> None:
        stream, wanted = found.stream, self._wanted
        if stream.status not in {OK, PARTIAL, RANGE_REFUSED}:
            raise self._refusal(found)
        begin = how_to_begin(stream.status, stream.headers, stream.length, have=have, expected=wanted.size)
        if begin is None:
            self._begin_anew()
            raise Passing(f"{stream.place.shown} answered another range than was asked for.")
        if begin.at == "nowhere":
            self._ended = True
            return
        self._refuse_early(found, begin.total)
        if begin.at == "zero" and have:
            self._begin_anew()
        if not self._part.size:
            self._note = Note(validator_of(stream.headers), found.commit, self._boot_id)
        total = wanted.size if wanted.size is not None else begin.total
        if not self._part.size and (total is None or total > _SMALL_BYTES):
            self._part.remember(self._note)
        before = self._part.size
        self._pieces += 1
        try:
            take_body(
                stream,
                self._part,
                folder=self._folder,
                total=total,
                most_bytes=self._patience.most_bytes if total is None else total,
                stall_seconds=self._patience.stall_seconds,
                flow=self._flow,
            )
        finally:
            self._received += self._part.size - before
        # A body without an announced length is told whole from cut off by its hash, or by its own end mark.
        if total is not None and self._part.size < total:
            raise Passing(f"{stream.place.shown} broke off after {self._part.size} of {total} bytes.")
        self._ended = True

    def _refusal(self, found: Found) -> Failure:
        stream = found.stream
        failure = refusal(stream.status, stream.headers, stream.short_text(), stream.place.shown, now=self._now())
        if found.is_elsewhere and failure.code == "download-no-access":
            # The hub signed the address of its storage; a signature that is over is had anew with the next attempt.
            return Passing(failure.message, code=failure.code)
        return failure

    def _refuse_early(self, found: Found, total: int | None) -> None:
        """Look at what can be told before a body is taken."""
        wanted, shown = self._wanted, found.stream.place.shown
        reason = reason_no_model(found.stream.headers, wanted.name)
        if reason is not None:
            raise Failure("download-wrong-content", f"{shown} sends {reason} instead of {wanted.name}.")
        sizes = {size for size in (wanted.size, found.size, total) if size is not None}
        if sizes and max(sizes) > self._patience.most_bytes:
            raise Failure("download-wrong-content", f"{shown} has {max(sizes)} bytes, more than any model.")
        if len(sizes) > 1:
            shown_sizes = " and ".join(str(size) for size in sorted(sizes))
            raise Failure("download-wrong-content", f"{shown} has another file now: its size is {shown_sizes} bytes.")
        if not sizes and wanted.sha256 is None and not found.stream.end_is_marked:
            raise Failure(
                "download-wrong-content",
                f"{shown} does not say how long the file is, so a part of it would look whole.",
            )
        if None not in {wanted.sha256, found.sha256} and wanted.sha256 != found.sha256:
            raise Failure("download-wrong-content", f"{shown} has another file now: its SHA-256 is {found.sha256}.")
        if wanted.sha256 is None and found.sha256 is not None:
            self._wanted = replace(wanted, sha256=found.sha256)

    def _may_go_on(self) -> bool:
        return not self._flow.wait(0)

    def _begin_anew(self) -> None:
        self._restarts += 1
        if self._restarts > _RESTARTS:
            self._part.begin_anew()
            raise Failure("download-interrupted", f"{self._wanted.name} had to be begun anew {_RESTARTS} times.")
        self._part.begin_anew()
        self._note = Note(boot_id=self._boot_id)
        self._ended = False
        self._pieces = 0

    def _rest(self, passing: Passing, fruitless: int) -> None:
        """Wait before the next attempt, or give up."""
        patience = self._patience
        backoff = patience.first_wait_seconds * 2.0 ** max(0, fruitless - 1)
        wait = max(passing.wait_seconds, min(backoff, patience.longest_wait_seconds))
        if fruitless >= patience.attempts or wait > patience.longest_wait_seconds:
            hint = f"Try again in {wait:.0f} seconds." if passing.wait_seconds else "Run the same command again later."
            raise Failure(passing.code, passing.message, hint=hint) from passing
        if self._flow.wait(wait):
            raise stopped() from passing

    def _is_right(self, sha256: str) -> bool:
        on_disk = os.fstat(self._part.descriptor).st_size
        return self._wanted.sha256 in {None, sha256} and on_disk == self._part.size == (self._wanted.size or on_disk)

    def _refuse_wrong(self, sha256: str) -> None:
        failure = None
        if not self._is_right(sha256):
            failure = Failure(
                "download-wrong-content",
                f"{self._wanted.name} is not what was asked for: {self._part.size} bytes with SHA-256 {sha256}.",
                hint="Search again (comfywatchman resolve --refresh): the file may have been replaced.",
            )
        failure = failure or self._check(self._part.descriptor, self._wanted.name, self._part.size)
        if failure is not None:
            self._part.discard()
            raise failure
