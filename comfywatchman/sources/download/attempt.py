"""One attempt of a download: one request, its redirects and its body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool, HttpStream
from comfywatchman.sources.download.body import receive_body, stop_failure
from comfywatchman.sources.download.expectations import AnnouncedFile, find_mismatch
from comfywatchman.sources.download.limits import DownloadLimits
from comfywatchman.sources.download.partial_file import ResumeNote
from comfywatchman.sources.download.ranges import MIN_BYTES, RangeTransfer, receive_ranges
from comfywatchman.sources.download.redirects import HostPolicy, ResolvedDownload, pin_to_commit, resolve_redirects
from comfywatchman.sources.download.responses import (
    OK,
    PARTIAL,
    RANGE_REFUSED,
    BodyPlacement,
    TransientFailure,
    build_status_failure,
    decide_resume,
    read_strong_etag,
)
from comfywatchman.sources.download.retry import RetryPolicy
from comfywatchman.sources.download.state import DownloadState

_MAX_UNMARKED_ENDS: Final = 3
_SMALL_FILE_BYTES: Final = 1 << 20
"""Up to this size, a note beside the partial file costs more than downloading it again."""


@dataclass(frozen=True, slots=True)
class Downloader:
    """Sends the requests of one run of downloads.

    Attributes:
        connections: Open connections.
        hosts: Hosts that a download may start from, with their tokens.
        retry: Limits on attempts, waits and size.
        limits: Limits of the run.
        now: The wall clock, for a `Retry-After` that is a date.
    """

    connections: ConnectionPool
    hosts: HostPolicy
    retry: RetryPolicy
    limits: DownloadLimits
    now: Callable[[], datetime]

    def attempt(self, state: DownloadState, folder: int) -> None:
        """Request the missing bytes of a download and append them to its partial file.

        Args:
            state: The download; complete afterwards if nothing is raised.
            folder: Descriptor of the target folder.

        Raises:
            TransientFailure: Another attempt may succeed.
            Failure: It cannot.
        """
        if state.part.size and state.request.sha256 is None and state.note.validator is None:
            # Nothing would prove that old and new bytes belong to one file.
            state.restart()
        resolved = self._send_request(state)
        with resolved.stream:
            self._process_response(state, folder, resolved)

    def _send_request(self, state: DownloadState) -> ResolvedDownload:
        headers: dict[str, str] = {}
        if state.part.size:
            headers["Range"] = f"bytes={state.part.size}-"
            if state.note.validator:
                headers["If-Range"] = state.note.validator
        url = pin_to_commit(state.request.url, state.note.commit)
        try:
            return resolve_redirects(url, headers, connections=self.connections, hosts=self.hosts)
        except Failure as failure:
            if failure.code != "http-unreachable":
                raise
            if self.limits.is_stopped():
                raise stop_failure() from failure
            raise TransientFailure(failure.message) from failure

    def _process_response(self, state: DownloadState, folder: int, resolved: ResolvedDownload) -> None:
        stream, request = resolved.stream, state.request
        if stream.status not in {OK, PARTIAL, RANGE_REFUSED}:
            raise self._build_failure(resolved)
        have = state.part.size
        decision = decide_resume(stream.status, stream.headers, stream.length, have=have, expected=request.size)
        if decision is None:
            state.restart()
            raise TransientFailure(f"{stream.address.printable} returned a different range than requested.")
        if decision.placement is BodyPlacement.NOTHING_LEFT:
            state.is_complete = True
            return
        self._check_announced_file(state, resolved, decision.total)
        if decision.placement is BodyPlacement.REPLACE and have:
            state.restart()
        total = request.size if request.size is not None else decision.total
        if state.part.size == 0:
            state.note = ResumeNote(read_strong_etag(stream.headers), resolved.commit, state.boot_id)
            if total is None or total > _SMALL_FILE_BYTES:
                state.part.write_note(state.note)
        self._receive(state, folder, resolved, total)

    def _receive(self, state: DownloadState, folder: int, resolved: ResolvedDownload, total: int | None) -> None:
        before = state.part.size
        state.responses += 1
        try:
            if total is not None and self._may_split(state, resolved, total):
                self._receive_ranges(state, folder, resolved, total)
            else:
                receive_body(
                    resolved.stream,
                    state.part,
                    folder=folder,
                    total=total,
                    max_bytes=self.retry.max_bytes if total is None else total,
                    stall_seconds=self.retry.stall_seconds,
                    limits=self.limits,
                )
        finally:
            state.received_bytes += state.part.size - before
        # Without an announced length, a truncated body shows by its hash or by its missing end mark.
        if total is not None and state.part.size < total:
            shown = resolved.stream.address.printable
            raise TransientFailure(f"{shown} broke off after {state.part.size} of {total} bytes.")
        if total is None and not resolved.stream.end_is_marked and self._may_be_cut(state):
            shown = resolved.stream.address.printable
            raise TransientFailure(f"{shown} broke off after {state.part.size} bytes, as the SHA-256 shows.")
        state.is_complete = True

    def _may_split(self, state: DownloadState, resolved: ResolvedDownload, total: int) -> bool:
        """Return whether the rest of a file comes over several connections: it is large, and its hash proves it."""
        offers_ranges = resolved.stream.status == PARTIAL or resolved.stream.headers.get("accept-ranges") == "bytes"
        is_large = total - state.part.size >= MIN_BYTES
        return state.connections > 1 and is_large and offers_ranges and state.request.sha256 is not None

    def _receive_ranges(self, state: DownloadState, folder: int, resolved: ResolvedDownload, total: int) -> None:
        """Receive the rest of a file in ranges; after a failure, the next attempt uses one connection."""
        address, url = resolved.stream.address, pin_to_commit(state.request.url, resolved.commit)

        def open_range(first: int, last: int) -> HttpStream:
            headers = {"Range": f"bytes={first}-{last}"}
            if resolved.is_other_origin:
                # The storage server's signed address, so that the hub counts one download.
                return self.connections.open(address, headers)
            return resolve_redirects(url, headers, connections=self.connections, hosts=self.hosts).stream

        # The body of the response that announced the file is not needed; its connection is closed.
        resolved.stream.close()
        state.responses += 1
        transfer = RangeTransfer(open_range, total, state.connections, self.retry.stall_seconds, self.limits)
        try:
            receive_ranges(state.part, folder, transfer)
        except TransientFailure:
            state.connections = 1
            raise

    def _may_be_cut(self, state: DownloadState) -> bool:
        """Return whether a file of unknown length may have been cut off; its hash is known and tells."""
        sha256 = state.request.sha256
        if sha256 is None or state.part.sha256() == sha256 or state.unmarked_ends >= _MAX_UNMARKED_ENDS:
            return False
        state.unmarked_ends += 1
        return True

    def _check_announced_file(self, state: DownloadState, resolved: ResolvedDownload, total: int | None) -> None:
        """Refuse a response that cannot be the requested file; take over the hash that the hub announces."""
        stream = resolved.stream
        announced = AnnouncedFile(
            stream.address.printable,
            stream.headers,
            total=total,
            hub_size=resolved.size,
            hub_sha256=resolved.sha256,
            has_end_mark=stream.end_is_marked,
        )
        mismatch = find_mismatch(state.request, announced, max_bytes=self.retry.max_bytes)
        if mismatch is not None:
            raise wrong_content_failure(mismatch)
        if state.request.sha256 is None and resolved.sha256 is not None:
            state.request = replace(state.request, sha256=resolved.sha256)

    def _build_failure(self, resolved: ResolvedDownload) -> Failure:
        stream = resolved.stream
        failure = build_status_failure(
            stream.status, stream.headers, stream.read_beginning(), stream.address.printable, now=self.now()
        )
        if resolved.is_other_origin and failure.code == "download-no-access":
            # The hub's signed URL of its storage has expired; the next attempt gets a new one.
            return TransientFailure(failure.message, code=failure.code)
        return failure


def wrong_content_failure(message: str) -> Failure:
    """Return the failure for a file that is not the requested one."""
    hint = "Search again (comfywatchman resolve --refresh): the file may have been replaced."
    return Failure("download-wrong-content", message, hint=hint)
