from __future__ import annotations

import pytest

from comfywatchman.comfyui.models.failed_download import detect_download_failure, is_lfs_pointer

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 6938\n"


def detect(head: bytes, suffix: str = ".safetensors", size: int | None = None) -> str | None:
    fault = detect_download_failure(head, suffix, len(head) if size is None else size)
    return fault.code if fault else None


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\xef\xbb\xbf \n<!DOCTYPE html>", "html-page"),
        (b"<Error><Code>AccessDenied</Code>", "html-page"),
        (b"<!-- saved from url -->", "html-page"),
        (LFS, "lfs-pointer"),
        (b'{"detail": "gone"}', "server-answer"),
        (b"Invalid credentials in Authorization header", "server-answer"),
        (bytes(100), "zeros"),
        (b"PK\x03\x04", None),
        (b"", "zeros"),
    ],
)
def test_remains_of_a_download_are_recognised(head: bytes, code: str | None) -> None:
    assert detect(head) == code


def test_text_files_may_hold_text() -> None:
    for head in (b"<html>", b'{"error": 1}', bytes(10)):
        assert detect(head, ".json") is None


def test_lfs_pointer_counts_under_every_suffix() -> None:
    assert is_lfs_pointer(LFS)
    assert detect(LFS, ".json") == "lfs-pointer"


def test_large_file_is_not_taken_for_an_error_message() -> None:
    assert detect(b"error: ", size=1 << 20) is None


def test_other_suffixes_may_begin_with_zeros_or_error() -> None:
    assert detect(bytes(10), ".engine") is None
    assert detect(b"error", "") is None
