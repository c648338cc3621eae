from __future__ import annotations

from comfywatchman.governance.checks.result import shorten_names


def test_three_names_are_shown_and_the_others_counted() -> None:
    assert shorten_names(["a", "b", "c"]) == "a, b, c"
    shortened = shorten_names(["a", "b", "c", "d", "e"])
    assert shortened.startswith("a, b, c")
    assert "2" in shortened
    assert "d" not in shortened.split()
