from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.sources.download.expectations import AnnouncedFile, find_mismatch
from comfywatchman.sources.download.target import DownloadRequest

HASH = "a" * 64
PLAIN = AnnouncedFile(
    shown="https://hub/file",
    headers={"content-type": "application/octet-stream"},
    total=None,
    hub_size=None,
    hub_sha256=None,
    has_end_mark=True,
)


def mismatch(size: int | None = None, sha256: str | None = None, **announced: object) -> str | None:
    request = DownloadRequest("a.safetensors", "https://hub/file", size, sha256)
    return find_mismatch(request, replace(PLAIN, **announced), max_bytes=1000)  # type: ignore[arg-type]


def test_response_without_contradiction_is_accepted() -> None:
    assert mismatch() is None
    assert mismatch(5, HASH, total=5, hub_size=5, hub_sha256=HASH) is None
    assert mismatch(None, HASH, has_end_mark=False) is None
    assert mismatch(5, None, has_end_mark=False) is None
    assert mismatch(None, None, total=5, has_end_mark=False) is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (mismatch(headers={"content-type": "text/html"}), "sends a web page instead of a.safetensors"),
        (mismatch(total=1001), "more than any model"),
        (mismatch(5, total=6), "5 and 6 bytes"),
        (mismatch(5, hub_size=4), "4 and 5 bytes"),
        (mismatch(hub_size=4, total=7), "4 and 7 bytes"),
        (mismatch(has_end_mark=False), "neither size nor hash"),
        (mismatch(None, HASH, hub_sha256="b" * 64), f"its SHA-256 is {'b' * 64}"),
    ],
)
def test_contradiction_is_reported(reason: str | None, expected: str) -> None:
    assert expected in (reason or "")


def test_largest_file_is_accepted() -> None:
    assert mismatch(total=1000) is None
