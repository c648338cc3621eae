from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from comfywatchman.app.pages.attention import NeededAction
from comfywatchman.app.pages.live_status import LiveStatus
from comfywatchman.app.pages.status_sentence import ServerFacts, StatusSentence, StatusTone
from comfywatchman.cli.text.live_status_text import FOOTER, cut_line, format_live_status
from comfywatchman.cli.text.wrapping import measure_width
from comfywatchman.readiness.host_summary import Summary

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
JOBS = {"pending": 5, "processing": 1, "done": 7, "failed": 2, "cancelled": 0, "quarantined": 1}
SENTENCE = StatusSentence(
    tone=StatusTone.NEED,
    summary=Summary(workflows=14, ready=12),
    checked_at=NOW - timedelta(minutes=2),
    valid_until=NOW + timedelta(hours=2),
    share_left=98,
    jobs=JOBS,
    is_paused=False,
    queue_error="",
    server=ServerFacts("up", NOW - timedelta(hours=3), "ComfyUI works."),
    needs_you=2,
    host_name="studio",
    host_line="",
)
STATUS = LiveStatus(SENTENCE, (), (), (), ())


def show(status: LiveStatus, *, width: int = 80, height: int = 40) -> list[str]:
    return [click.unstyle(line) for line in format_live_status(status, NOW, width=width, height=height)]


def need(number: int) -> NeededAction:
    return NeededAction("need", f"Download model {number} {'x' * 90}", "", "comfywatchman resolve x" * 9)


def test_head_has_verdicts_queue_and_server() -> None:
    text = " ".join(show(STATUS))
    assert "12 of 14 workflows ready. Checked 2 min ago" in text
    assert "1 job runs, 5 wait, 3 failed." in text
    assert "ComfyUI works." in text
    assert show(STATUS)[-1] == FOOTER


def test_old_verdicts_are_not_called_ready() -> None:
    stale = replace(SENTENCE, tone=StatusTone.STALE, valid_until=NOW - timedelta(minutes=1))
    text = " ".join(show(replace(STATUS, sentence=stale)))
    assert "Not checked since 2 min ago" in text
    assert "workflows ready" not in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"summary": None, "checked_at": None, "valid_until": None}, "Nothing has been checked yet."),
        ({"summary": None, "obstacle": "The report is damaged."}, "The report is damaged."),
        ({"jobs": None, "queue_error": "The disk is full."}, "The queue cannot be read: The disk is full."),
        ({"is_paused": True}, "3 failed; the queue is paused."),
    ],
)
def test_unknown_parts_say_why(changes: dict[str, Any], expected: str) -> None:
    assert expected in " ".join(show(replace(STATUS, sentence=replace(SENTENCE, **changes))))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    status = replace(STATUS, needed=tuple(need(number) for number in range(9)))
    lines = show(status, width=width)
    assert max(map(measure_width, lines)) <= width
    assert "  6 more" in lines


@pytest.mark.parametrize("height", [1, 5, 8, 12, 24])
def test_view_fits_into_the_height_and_keeps_its_footer(height: int) -> None:
    status = replace(STATUS, needed=tuple(need(number) for number in range(9)))
    lines = show(status, height=height)
    assert len(lines) <= max(3, height)
    assert lines[-1] == FOOTER


def test_names_cannot_change_the_terminal() -> None:
    status = replace(STATUS, needed=(NeededAction("bad", "name \x1b[2J", ""),))
    assert not any("\x1b" in line for line in show(status))


@pytest.mark.parametrize(
    ("text", "width", "expected"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本", 3, "日…"), ("日本", 4, "日本")]
)
def test_long_line_is_cut_with_an_ellipsis(text: str, width: int, expected: str) -> None:
    assert cut_line(text, width) == expected
