"""The header checks of both formats, which read through a `ReadBytes` and return a `HeaderFault`."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from comfywatchman.comfyui.models.file import HEAD_BYTES, check_header
from comfywatchman.comfyui.models.gguf import check_gguf
from comfywatchman.comfyui.models.header import HeaderFault, ReadBytes
from comfywatchman.comfyui.models.safetensors import check_safetensors
from tests.model_files import gguf, put, safetensors

LONG_PAIRS = {"general.description": "x" * 2 * HEAD_BYTES}


def open_bytes(content: bytes) -> ReadBytes:
    """Return a reader that returns fewer bytes at the end of the content, as `os.pread` does."""
    return lambda start, count: content[start : start + count]


def test_header_that_ends_early_is_damaged() -> None:
    whole = safetensors(300)
    # The caller's stat saw the whole file, which was shortened before it was read.
    short = whole[:100]
    fault, _detail = check_safetensors(open_bytes(short), short, len(whole))
    assert fault is not None
    assert fault.code == "header-invalid"
    assert check_safetensors(open_bytes(whole), short, len(whole))[0] is None


def test_gguf_header_is_read_on_behind_the_first_read() -> None:
    whole = gguf(pairs=LONG_PAIRS)
    assert check_gguf(open_bytes(whole), whole[:64], len(whole))[0] is None
    short = whole[:64]
    fault, _detail = check_gguf(open_bytes(short), short, len(short))
    assert fault is not None
    assert fault.code == "truncated"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.safetensors", safetensors()[:-1]),
        ("long.safetensors", safetensors(extra=b"more")),
        ("cut.gguf", gguf()[:9]),
        ("future.gguf", gguf(version=9)),
    ],
)
def test_fault_of_a_format_is_the_problem_of_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    check = check_gguf if name.endswith(".gguf") else check_safetensors
    fault, _detail = check(open_bytes(content), content, len(content))
    facts = check_header(put(tmp_path / name, content), len(content))
    assert fault == HeaderFault(facts.problem_code or "", facts.problem or "")


def test_faults_of_one_kind_share_the_code_and_not_the_reason() -> None:
    faults = set()
    for count in (1, 2, 3):
        content = safetensors(2)[:-count]
        fault, _detail = check_safetensors(open_bytes(content), content, len(content))
        faults.add(fault)
    assert len(faults) == 3
    assert {fault.code for fault in faults if fault} == {"truncated"}


def test_length_that_no_header_can_have_is_refused_unread() -> None:
    asked: list[int] = []

    def read(_start: int, count: int) -> bytes:
        asked.append(count)
        return b""

    head = struct.pack("<Q", 1 << 40) + b"{}"
    fault, _detail = check_safetensors(read, head, 1 << 41)
    assert fault is not None
    assert fault.code == "header-invalid"
    assert asked == []
