"""Reading the body of a response into memory, with limits of size and time."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import format_size

_GZIP: Final = zlib.MAX_WBITS | 16
"""The window bits with which zlib expects a gzip header."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits for one body.

    Attributes:
        max_bytes: Largest body, compressed or not.
        deadline: Monotonic time at which reading must be finished.
        timeout_seconds: Time limit of the whole request, for messages.
    """

    max_bytes: int
    deadline: float
    timeout_seconds: float


def read_body(parts: Iterable[bytes], encoding: str, shown: str, limits: BodyLimits) -> bytes:
    """Read and decompress a body.

    Args:
        parts: The body as it arrives.
        encoding: Value of the header Content-Encoding.
        shown: The address, for messages.
        limits: Limits of size and time.

    Raises:
        Failure: `http-body` when it is cut off, too large or compressed in a way that was not requested;
            `http-unreachable` when it takes too long.
    """
    encoding = encoding.strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise Failure("http-body", f"{shown} used the encoding {encoding[:40]!r}, which was not requested.")
    # httpx would decompress without a limit, so a small response could fill the memory.
    decompressor = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    body = bytearray()
    for part in parts:
        if decompressor is None:
            body += part
        else:
            body += _decompress(decompressor, part, limits.max_bytes + 1 - len(body), shown)
        if len(body) > limits.max_bytes:
            raise Failure("http-body", f"{shown} returned more than {format_size(limits.max_bytes)}.")
        if time.monotonic() > limits.deadline:
            raise build_timeout_failure(shown, limits.timeout_seconds)
    if decompressor is not None and body and not decompressor.eof:
        raise Failure("http-body", f"{shown} ended its response early.")
    return bytes(body)


def build_timeout_failure(shown: str, timeout_seconds: float) -> Failure:
    """Return the failure for a server that did not respond within the time limit."""
    return Failure("http-unreachable", f"{shown} did not answer within {timeout_seconds:g} seconds.")


def _decompress(decompressor: zlib._Decompress, part: bytes, max_bytes: int, shown: str) -> bytes:
    try:
        return decompressor.decompress(part, max_bytes)
    except zlib.error as error:
        raise Failure("http-body", f"{shown} returned a corrupt gzip body.") from error
