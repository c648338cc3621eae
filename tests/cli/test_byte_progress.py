from __future__ import annotations

import pytest

from comfywatchman.cli import byte_progress
from comfywatchman.cli.byte_progress import show_bytes


class Recorder:
    """Keeps what a task would record."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, int, int | None]] = []

    def show(self, text: str) -> None:
        raise AssertionError(text)

    def count(self, text: str, done: int, total: int | None) -> None:
        self.counts.append((text, done, total))


def test_task_records_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_progress, "_RECORD_SECONDS", 0.0)
    recorder = Recorder()
    with show_bytes(recorder, "Hashing", as_json=False) as show:
        show("a.safetensors", 1, 10)
        show("b.safetensors", 7, 10)
    assert recorder.counts == [("Hashing a.safetensors", 1, 10), ("Hashing b.safetensors", 7, 10)]


def test_lines_name_share_and_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(byte_progress, "_LINE_SECONDS", 0.0)
    with show_bytes(None, "Hashing", as_json=False) as show:
        show("a.safetensors", 1 << 30, 4 << 30)
    assert "Hashing a.safetensors: 25 % of 4.00 GiB" in capsys.readouterr().err


def test_programs_get_no_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(byte_progress, "_LINE_SECONDS", 0.0)
    with show_bytes(None, "Hashing", as_json=True) as show:
        show("a.safetensors", 1, 4)
    assert capsys.readouterr() == ("", "")


def test_display_is_not_updated_for_every_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(byte_progress, "_LINE_SECONDS", 3600.0)
    with show_bytes(None, "Hashing", as_json=False) as show:
        for number in range(100):
            show("a.safetensors", number, 100)
    assert capsys.readouterr().err == ""
