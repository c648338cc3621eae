"""The cycle history: newest first, bounded, and readable despite damaged lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.history import CycleRecord, add_record, read_records


def build_record(number: int, **facts: object) -> CycleRecord:
    return CycleRecord(
        id=f"c{number}",
        trigger="manual",
        started_at="2026-11-20T14:00:00Z",
        duration_seconds=0.5,
        success=True,
        **facts,  # type: ignore[arg-type]
    )


def ids(path: Path, limit: int = 1000) -> list[str]:
    return [record.id for record in read_records(path, limit=limit)]


def test_records_come_back_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history.jsonl"
    first = build_record(1, phases={"gates": 0.1}, message="a\nb", ready=3)
    add_record(path, first, keep=10)
    add_record(path, build_record(2), keep=10)
    assert read_records(path, limit=10) == [build_record(2), first]
    assert ids(path, limit=1) == ["c2"]


def test_without_a_file_there_is_no_history(tmp_path: Path) -> None:
    assert read_records(tmp_path / "absent", limit=5) == []


def test_unreadable_history_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        read_records(tmp_path, limit=5)
    assert caught.value.code == "file-not-regular"


@pytest.mark.parametrize("keep", [1, 3, 10])
def test_history_is_bounded(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "history.jsonl"
    for number in range(1, 50):
        add_record(path, build_record(number), keep=keep)
        assert ids(path, limit=keep) == [f"c{n}" for n in range(number, max(0, number - keep), -1)]
        assert len(path.read_bytes().splitlines()) <= 2 * keep


def test_unreadable_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    add_record(path, build_record(1), keep=10)
    with path.open("ab") as stream:
        stream.write(b'\xff\xfe\n\n{"id": 7}\n[]\n{"id":"torn')
    add_record(path, build_record(2), keep=10)
    assert ids(path) == ["c2", "c1"]
    assert ids(path, limit=1) == ["c2"]


@pytest.mark.slow
def test_two_processes_keep_all_their_records(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    code = """
import sys
from pathlib import Path
from comfywatchman.readiness.history import CycleRecord, add_record
started = "2026-11-20T14:00:00Z"
for number in range(40):
    add_record(Path(sys.argv[1]), CycleRecord(f"{sys.argv[2]}{number}", "cron", started, 0.1, False), keep=45)
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), who]) for who in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    assert sorted(ids(path)) == sorted(f"{who}{number}" for who in "ab" for number in range(40))


def test_records_of_another_comfyui_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for number, comfyui in enumerate(("a", "b", None, "a")):
        add_record(path, msgspec.structs.replace(build_record(number), comfyui=comfyui), keep=10)
    assert [record.comfyui for record in read_records(path, limit=1, comfyui="b")] == ["b"]
    assert len(read_records(path, limit=10, comfyui="a")) == 2
    assert len(read_records(path, limit=10)) == 4
