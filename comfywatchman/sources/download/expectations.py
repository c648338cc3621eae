"""Compare a response with the requested file before its body is received. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comfywatchman.base.text import format_size
from comfywatchman.sources.download.responses import reason_not_model_response
from comfywatchman.sources.download.target import DownloadRequest


@dataclass(frozen=True, slots=True)
class AnnouncedFile:
    """A file as the server and the hub announce it.

    Attributes:
        shown: The URL, without secrets.
        headers: Headers of the response, by lower-case name.
        total: Size by the response; None when it does not give it.
        hub_size: Size by the hub; None when it does not give it.
        hub_sha256: Hash by the hub; None when it does not give it.
        has_end_mark: Whether a truncated body can be told from a whole one.
    """

    shown: str
    headers: Mapping[str, str]
    total: int | None
    hub_size: int | None
    hub_sha256: str | None
    has_end_mark: bool


def find_mismatch(request: DownloadRequest, announced: AnnouncedFile, *, max_bytes: int) -> str | None:
    """Return why the announced file is not the requested one; None when nothing contradicts it.

    Args:
        request: The requested file.
        announced: The announcement.
        max_bytes: Largest file that is accepted.
    """
    shown = announced.shown
    other_content = reason_not_model_response(announced.headers, request.name)
    if other_content is not None:
        return f"{shown} sends {other_content} instead of {request.name}."
    # The size of a partial response is that of the whole file, so all three must agree.
    sizes = {size for size in (request.size, announced.hub_size, announced.total) if size is not None}
    if sizes and max(sizes) > max_bytes:
        return f"{shown} has {format_size(max(sizes))}, more than any model."
    if len(sizes) > 1:
        listed = " and ".join(str(size) for size in sorted(sizes))
        return f"{shown} has a different file now: the announced and expected sizes are {listed} bytes."
    if not sizes and request.sha256 is None and not announced.has_end_mark:
        return f"{shown} gives neither size nor hash, so a truncated file could not be detected."
    hub_sha256 = announced.hub_sha256
    if request.sha256 is not None and hub_sha256 is not None and request.sha256 != hub_sha256:
        return f"{shown} has a different file now: its SHA-256 is {hub_sha256}."
    return None
