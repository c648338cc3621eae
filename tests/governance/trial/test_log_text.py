from __future__ import annotations

import pytest

from comfywatchman.governance.trial.log_text import clean_line, find_last_line


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
def test_what_was_printed_is_made_harmless(text: str, shown: str) -> None:
    assert clean_line(text) == shown


def test_long_texts_are_cut() -> None:
    assert len(clean_line("x" * 100_000)) == 300
    assert clean_line("x" * 100_000).endswith("x…")


def test_a_cut_address_does_not_show_its_user_information() -> None:
    assert "secret" not in clean_line("x" * 280 + " https://me:secret" + "y" * 200 + "@pypi.example/")


def test_the_last_line_that_says_something_counts() -> None:
    assert find_last_line("Traceback\n  line\nValueError: no\n\n \x1b[0m\n") == "ValueError: no"
    assert find_last_line("") == ""
