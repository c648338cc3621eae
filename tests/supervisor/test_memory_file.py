from __future__ import annotations

from pathlib import Path

from comfywatchman.supervisor.incidents import MemorySample
from comfywatchman.supervisor.memory_file import MEMORY_NAME, read_memory, write_memory

SAMPLE = MemorySample("2026-12-01T00:00:00Z", 5, 7)


def test_samples_are_read_as_written(tmp_path: Path) -> None:
    write_memory(tmp_path, (SAMPLE,))
    assert read_memory(tmp_path) == (SAMPLE,)


def test_no_samples_leave_the_last_ones(tmp_path: Path) -> None:
    write_memory(tmp_path, (SAMPLE,))
    write_memory(tmp_path, ())
    assert read_memory(tmp_path) == (SAMPLE,)


def test_absent_and_damaged_files_have_no_samples(tmp_path: Path) -> None:
    assert read_memory(tmp_path) == ()
    (tmp_path / MEMORY_NAME).write_bytes(b"{")
    assert read_memory(tmp_path) == ()
