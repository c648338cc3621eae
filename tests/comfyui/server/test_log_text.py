from __future__ import annotations

import pytest

from comfywatchman.comfyui.server.log_text import clean_line, find_last_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m  and\n\ttext", "red and text"),
        ("\x1b]0;a title\x07said", "said"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("bell\x07 and \x9b1m", "bell\\x07 and \\x9b1m"),
        ("from https://me:secret@pypi.example/simple", "from https://pypi.example/simple"),
        ("\u202eevil", "\\u202eevil"),
    ],
)
def test_escapes_and_credentials_are_removed(text: str, shown: str) -> None:
    assert clean_line(text) == shown


def test_long_lines_are_cut() -> None:
    assert len(clean_line("x" * 100_000)) == 300
    assert clean_line("x" * 100_000).endswith("x…")


def test_cut_url_shows_no_credentials() -> None:
    assert "secret" not in clean_line("x" * 280 + " https://me:secret" + "y" * 200 + "@pypi.example/")


def test_last_line_that_is_not_empty_is_found() -> None:
    assert find_last_line("Traceback\n  line\nValueError: no\n\n \x1b[0m\n") == "ValueError: no"
    assert find_last_line("") == ""
