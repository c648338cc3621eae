"""Download one file: afterwards its name holds the right bytes, or does not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure
from comfywatchman.sources.download.attempt import Downloader, wrong_content_failure
from comfywatchman.sources.download.body import stop_failure
from comfywatchman.sources.download.limits import DownloadLimits
from comfywatchman.sources.download.partial_file import ResumeNote, build_partial_name, delete_partial, open_partial
from comfywatchman.sources.download.responses import TransientFailure
from comfywatchman.sources.download.retry import decide_wait_seconds, is_progress
from comfywatchman.sources.download.state import DownloadState, interruption_failure
from comfywatchman.sources.download.target import (
    DownloadRequest,
    DownloadResult,
    find_existing_file,
    target_taken_failure,
)

_MAX_ATTEMPTS: Final = 1000
_MAX_NAME_CHARS_SHOWN: Final = 200

FileCheck = Callable[[int, str, int], Failure | None]
"""Checks a finished file before it gets its name: descriptor, name and size; returns the reason to reject it."""


def download_file(
    request: DownloadRequest, folder: int, downloader: Downloader, *, check: FileCheck, boot_id: str
) -> DownloadResult:
    """Download a file into a folder, resuming the partial file of an earlier run.

    A file that has the name already is never replaced.

    Args:
        request: The file.
        folder: Descriptor of the folder.
        downloader: Sends the requests.
        check: Checks the finished file before it gets its name.
        boot_id: The kernel's identifier of this boot.

    Raises:
        Failure: A `download-…` code, `lock-held`, or `state-unwritable`.
    """
    # Computed once: the hub may announce the hash later, and the hash is part of the name.
    partial_name = build_partial_name(request.name, url=request.url, sha256=request.sha256)
    try:
        existing = _find_existing(request, folder, partial_name, downloader.limits)
        if existing is not None:
            return existing
        with open_partial(folder, partial_name) as part:
            state = DownloadState(request, part, ResumeNote(boot_id=boot_id), boot_id)
            state.connections = downloader.retry.connections
            return _download(state, folder, downloader, check)
    except FileExistsError as error:
        # Another process published first; if its file is the requested one, that is a success.
        existing = _find_existing(request, folder, partial_name, downloader.limits)
        if existing is None:
            raise target_taken_failure(request.name) from error
        return existing
    except OSError as error:
        raise unwritable_failure(request.name[:_MAX_NAME_CHARS_SHOWN], error) from error


def _find_existing(
    request: DownloadRequest, folder: int, partial_name: str, limits: DownloadLimits
) -> DownloadResult | None:
    """Return the requested file if it exists already, after deleting a partial file beside it."""
    existing = find_existing_file(request, folder, may_go_on=lambda: not limits.is_stopped())
    if existing is not None:
        delete_partial(folder, partial_name)
    return existing


def _download(state: DownloadState, folder: int, downloader: Downloader, check: FileCheck) -> DownloadResult:
    resumed_from = state.resume(downloader.limits)
    _receive_all(state, folder, downloader)
    sha256 = state.part.sha256()
    spoiled_sha256 = None
    if not state.has_expected_content(sha256):
        # The transfer may be spoiled, or its parts be of two versions; one more, in one piece, settles it.
        if state.responses == 1 and not resumed_from:
            spoiled_sha256 = sha256
        state.restart()
        state.connections = 1
        _receive_all(state, folder, downloader)
        sha256 = state.part.sha256()
    failure = _verify(state, sha256, spoiled_sha256, check)
    if failure is not None:
        state.part.discard()
        raise failure
    state.part.publish(state.request.name)
    return DownloadResult(state.part.size, sha256, state.received_bytes, resumed_from)


def _receive_all(state: DownloadState, folder: int, downloader: Downloader) -> None:
    """Make attempts until the file is whole.

    Raises:
        Failure: The file cannot be had, or no attempt is left.
    """
    fruitless_attempts = 0
    for _ in range(_MAX_ATTEMPTS):
        if state.is_whole():
            return
        before = state.received_bytes
        try:
            downloader.attempt(state, folder)
        except TransientFailure as failure:
            fruitless_attempts += 1
            if is_progress(state.received_bytes - before, state.request.size):
                fruitless_attempts = 0
            wait_seconds = decide_wait_seconds(downloader.retry, failure, fruitless_attempts)
            if downloader.limits.wait(wait_seconds):
                raise stop_failure() from failure
    if not state.is_whole():
        raise interruption_failure(f"{state.request.name} broke off {_MAX_ATTEMPTS} times.")


def _verify(state: DownloadState, sha256: str, spoiled_sha256: str | None, check: FileCheck) -> Failure | None:
    """Return why a file must not get its name.

    Args:
        state: The received file.
        sha256: Its hash.
        spoiled_sha256: The hash of an earlier whole transfer that was not the requested file either.
        check: Checks its header.
    """
    part, name = state.part, state.request.name
    if not state.has_expected_content(sha256):
        if sha256 == spoiled_sha256 and state.request.sha256 is not None:
            return _wrong_hash_failure(state.request.name, sha256, state.request.sha256)
        received = f"{part.size} bytes with SHA-256 {sha256}"
        return wrong_content_failure(f"{name} is not the requested file: received {received}.")
    return check(part.descriptor, name, part.size)


def _wrong_hash_failure(name: str, sha256: str, stated_sha256: str) -> Failure:
    return Failure(
        "download-wrong-content",
        f"{name}: its site states a wrong SHA-256. Two whole transfers had {sha256}, the site states {stated_sha256}.",
        hint="Report it to the author of the model; the file cannot be verified until its site states the right hash.",
    )
