from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.readiness.workflows.intake_log import (
    Acknowledgement,
    append_entries,
    decode_path,
    get_size,
    read_last_entries,
    read_log,
)


def build_entry(path: str, *, comfyui: str | None = None, padding: int = 0) -> Acknowledgement:
    return Acknowledgement(
        at="2026-11-20T14:00:00Z",
        kind="new",
        path=path + "x" * padding,
        source="mine",
        sha256="0" * 64,
        cycle="c1",
        comfyui=comfyui,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "intake_log.jsonl"


def test_reading_goes_on_behind_the_bytes_that_were_read(log: Path) -> None:
    append_entries(log, [build_entry("/a"), build_entry("/b")])
    first_size = get_size(log)
    append_entries(log, [build_entry("/c")])
    assert [entry.path for entry in read_log(log, from_byte=first_size)] == ["/c"]
    # An offset within a line: the rest of that line is no entry.
    assert [entry.path for entry in read_log(log, from_byte=5)] == ["/b", "/c"]
    assert list(read_log(log, from_byte=get_size(log) + 100)) == []


def test_absent_log_is_empty_and_a_folder_is_a_failure(log: Path) -> None:
    assert list(read_log(log)) == []
    assert get_size(log) == 0
    log.mkdir()
    with pytest.raises(Failure) as caught:
        list(read_log(log))
    assert caught.value.code == "file-not-regular"


def test_last_entries_of_one_comfyui_are_found_far_from_the_end(log: Path) -> None:
    own = [build_entry(f"/own{number}", comfyui="own") for number in range(3)]
    others = [build_entry(f"/other{number}", comfyui="other", padding=2000) for number in range(100)]
    append_entries(log, [*own, *others])
    assert get_size(log) > 2 << 16
    assert read_last_entries(log, 2, comfyui="own") == [own[2], own[1]]
    assert read_last_entries(log, 1) == [others[-1]]
    assert read_last_entries(log, 2, comfyui="absent") == []


def test_lines_of_older_versions_belong_to_no_comfyui(log: Path) -> None:
    old = build_entry("/old")
    append_entries(log, [old])
    assert b"comfyui" not in log.read_bytes()
    assert read_last_entries(log, 1) == [old]
    assert read_last_entries(log, 1, comfyui="own") == []


@pytest.mark.parametrize("name", [b"/w/a.json", b"/w/\xff.json", b"/w/new\nline.json", "/w/é.json".encode()])
def test_path_is_restored_from_its_bytes(log: Path, name: bytes) -> None:
    path = os.fsdecode(name)
    shown = printable_path(path)
    raw_path = name.hex() if shown != path else None
    append_entries(log, [msgspec.structs.replace(build_entry(shown), raw_path=raw_path)])
    (entry,) = read_log(log)
    assert decode_path(entry.path, entry.raw_path) == path
    assert entry.path.isprintable()
