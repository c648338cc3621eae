from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from comfywatchman.app.tasks.progress import TaskReporter
from comfywatchman.app.tasks.records import TaskProgress
from comfywatchman.base.state.state_file import read_state
from comfywatchman.cli import download_progress
from comfywatchman.cli.download_progress import (
    BarProgress,
    LineProgress,
    QuietProgress,
    format_outcome,
    format_progress,
    show_progress,
)
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from tests.fakes import FakeClock

ITEM = PlanItem("wan/[b]a\x1b.safetensors", "loras", "https://huggingface.co/o/r/resolve/main/a.safetensors")
MIB = 1 << 20


@pytest.mark.parametrize(
    ("have", "total", "came", "seconds", "text"),
    [
        (512 * MIB, 1024 * MIB, 100 * MIB, 10.0, "50 % of 1.00 GiB, 10.0 MiB/s, 0:51 left"),
        (0, 100_000 * MIB, 1 * MIB, 1.0, "0 % of 97.66 GiB, 1.0 MiB/s, 27:46:40 left"),
        (5 * MIB, None, 5 * MIB, 1.0, "5.0 MiB, 5.0 MiB/s"),
        (5 * MIB, 10 * MIB, 0, 0.0, "50 % of 10.0 MiB, 0.0 MiB/s"),
    ],
)
def test_progress_has_share_speed_and_remaining_time(
    have: int, total: int | None, came: int, seconds: float, text: str
) -> None:
    assert format_progress(have, total, came, seconds) == text


def test_outcomes_are_formatted() -> None:
    done = DownloadOutcome(
        "i", "a\x1b", "/x/a", how="downloaded", size=10 * MIB, received_bytes=5 * MIB, resumed_from=5 * MIB, seconds=2.0
    )
    assert format_outcome(done) == "a\\x1b: downloaded (10.0 MiB, 2.5 MiB/s, resumed at 5.0 MiB) at /x/a"
    assert (
        format_outcome(DownloadOutcome("i", "a", "/x/a", how="there", size=MIB))
        == "a: already present (1.0 MiB) at /x/a"
    )
    linked = DownloadOutcome("i", "a", "/x/a", how="linked")
    assert format_outcome(linked) == "a: linked to a file of this host (size unknown) at /x/a"
    failed = DownloadOutcome("i", "a", code="download-gone", message="Gone.", hint="Search\nagain.")
    assert format_outcome(failed) == "a: failed (download-gone): Gone. Search\\nagain."


def test_lines_are_printed_at_intervals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineProgress()
    lines.update(ITEM, 0, 10 * MIB)
    lines.update(ITEM, MIB, 10 * MIB)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(download_progress, "_LINE_SECONDS", 0.0)
    lines.update(ITEM, 5 * MIB, 10 * MIB)
    assert "wan/[b]a\\x1b.safetensors: 50 % of 10.0 MiB" in capsys.readouterr().err
    lines.finish(DownloadOutcome(ITEM.id, ITEM.filename, "/x", how="there", size=MIB))
    assert "already present" in capsys.readouterr().err


def test_bars_are_shown_and_removed() -> None:
    output = io.StringIO()
    progress = Progress(console=Console(file=output, force_terminal=True, width=100))
    bars = BarProgress(progress)
    bars.update(ITEM, 0, None)
    bars.update(ITEM, MIB, 10 * MIB)
    assert progress.tasks[0].completed == 0
    bars._shown.clear()
    bars.update(ITEM, MIB, 10 * MIB)
    assert (progress.tasks[0].completed, progress.tasks[0].total) == (MIB, 10 * MIB)
    bars.finish(DownloadOutcome(ITEM.id, ITEM.filename, "/x", how="there", size=MIB))
    bars.finish(DownloadOutcome("other", "b", code="download-gone"))
    assert progress.tasks == []
    assert "wan/[b]a\\x1b.safetensors: already present" in output.getvalue()


def test_json_has_no_progress_and_pipes_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(None, (), as_json=True) as watcher:
        assert isinstance(watcher, QuietProgress)
        watcher.update(ITEM, 1, 2)
        watcher.finish(DownloadOutcome("i", "a"))
    with show_progress(None, (), as_json=False) as watcher:
        assert isinstance(watcher, LineProgress)
    assert capsys.readouterr().err == ""


def test_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    with show_progress(None, (), as_json=False) as watcher:
        assert isinstance(watcher, BarProgress)


def test_task_records_all_downloads_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    other = PlanItem("b.safetensors", "loras", "https://huggingface.co/b", size=30 * MIB)
    reporter = TaskReporter(tmp_path / "p.json", clock)
    with show_progress(reporter, (ITEM, other), as_json=False) as watcher:
        watcher.update(ITEM, 5 * MIB, 10 * MIB)
        clock.advance(awake=1)
        watcher.finish(DownloadOutcome(other.id, "b.safetensors", "/x/b", how="there"))
    progress = read_state(reporter.path, TaskProgress)
    assert isinstance(progress, TaskProgress)
    assert (progress.done, progress.total) == (35 * MIB, 40 * MIB)
    assert progress.text == "1 of 2 files done; now b.safetensors"
    assert capsys.readouterr().out == "b.safetensors: already present (size unknown) at /x/b\n"
