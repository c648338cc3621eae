from __future__ import annotations

import pytest

from comfywatchman.cli.supervise.live import format_elapsed, show_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7380, "2 h 03 min")],
)
def test_elapsed_time_is_formatted(seconds: float, text: str) -> None:
    assert format_elapsed(seconds) == text


def test_line_is_not_shown_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    with show_line(lambda: "text"):
        pass
    assert capsys.readouterr().out == ""
