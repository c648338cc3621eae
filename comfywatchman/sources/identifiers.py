"""Parse hashes, commits and sizes that model sites send; anything malformed counts as not sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SIZE: Final = re.compile(r"[0-9]{1,18}")


def parse_sha256(text: str | None) -> str | None:
    """Return a SHA-256 in lower case; None when missing or malformed."""
    digest = (text or "").lower()
    return digest if _SHA256.fullmatch(digest) else None


def parse_commit(text: str | None) -> str | None:
    """Return a git commit id of 40 lower-case hex digits; None when missing or malformed."""
    return text if text and _COMMIT.fullmatch(text) else None


def parse_size(text: str | None) -> int | None:
    """Return a size in bytes; None when missing or malformed."""
    # The pattern keeps numbers of thousands of digits from being converted, and signs and spaces out.
    return int(text) if text and _SIZE.fullmatch(text) else None


def read_linked_sha256(headers: Mapping[str, str]) -> str | None:
    """Return the SHA-256 in Hugging Face's `X-Linked-Etag` header; None for small files, which have a git hash."""
    return parse_sha256(parse_etag(headers.get("x-linked-etag", "")))


def parse_etag(header: str) -> str:
    """Return the tag in an `ETag` header, without its quotes and its mark as weak."""
    return header.strip().removeprefix("W/").strip('"')
