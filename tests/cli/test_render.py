"""What people and programs see: nothing that a terminal obeys, nothing that JSON cannot hold."""

from __future__ import annotations

import contextlib
import json
import os
import pty
from typing import Any

import click
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.cli.render import exit_code, print_crash, print_failure, print_json, print_table, printable


def test_control_characters_become_escapes() -> None:
    assert printable("a\x1b[2J\n\u202e\udcffü模") == r"a\x1b[2J\n\u202e\udcffü模"


def test_piped_table_has_one_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("x\ty", "1\n2"), ("\x1b[31m", "")])
    assert capsys.readouterr().out == "A\tB\nx\\ty\t1\\n2\n\\x1b[31m\t\n"


@pytest.mark.parametrize("names", [{"whole": "C"}, {"spare": ("A", "C")}])
def test_unknown_column_names_are_refused(names: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown columns"):
        print_table(("A", "B"), [], **names)


def test_spare_columns_are_left_out_on_narrow_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    seen = on_a_terminal(("Id", "Taken", "Note"), [("20260101T120000Z-snap-0a1b2c", "2026-01-01T12:00:00Z", "q" * 50)])
    assert "20260101T120000Z-snap-0a1b2c" in seen
    table, _, note = seen.partition("No room for ")
    assert "Taken" not in table
    assert note.split() == ["Taken:", "widen", "the", "terminal,", "or", "use", "--json."]
    assert seen.count("q") == 50
    assert max(len(line) for line in seen.splitlines()) <= 40


def test_all_columns_are_shown_on_wide_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    seen = on_a_terminal(("Id", "Taken", "Note"), [("1", "2026-01-01T12:00:00Z", "q" * 50)])
    assert "2026-01-01T12:00:00Z" in seen
    assert "No room" not in seen


@pytest.mark.parametrize("length", [36, 60, 130])
def test_whole_column_is_folded_where_it_does_not_fit(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    seen = on_a_terminal(("Model", "Kind", "Waiting"), [("q" * length, "loras", "12")])
    assert seen.count("q") == length
    assert "Waiting" in seen
    assert "12" in seen
    assert "…" not in seen
    assert max(len(line) for line in seen.splitlines()) <= 40


def on_a_terminal(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return what a person sees of a table whose first column is whole and whose second is spare."""
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        with open(end, "w", encoding="utf-8") as out, contextlib.redirect_stdout(out):
            print_table(columns, rows, whole=columns[0], spare=columns[1:2])
        seen = b""
        # One read may return a part; after the last one the terminal reports that its other end is closed.
        with contextlib.suppress(OSError):
            while part := screen.read(65536):
                seen += part
        return click.unstyle(seen.decode())


def test_failure_is_two_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_failure(Failure("lock-held", "It is\x1b held.", hint="Wait."))
    print_failure(Failure("lock-held", "It is held."))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error (lock-held): It is\\x1b held.\nWait.\nError (lock-held): It is held.\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("config-unknown-key", 2),
        ("jobs-job-unknown", 2),
        ("jobs-priority-range", 2),
        ("version-lock-missing", 2),
        ("version-lock-invalid", 2),
        ("lock-held", 75),
        ("state-unwritable", 1),
    ],
)
def test_exit_code_of_a_failure(code: str, expected: int) -> None:
    assert exit_code(Failure(code, "It failed.")) == expected


def test_unexpected_error_has_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        int("x")
    except ValueError as error:
        print_crash(error)
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert "comfywatchman failed unexpectedly (ValueError)" in text


def test_json_has_version_sorted_keys_and_no_surrogates(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(b="\udcff", a=1)
    text = capsys.readouterr().out
    assert list(json.loads(text)) == ["a", "b", "schema_version"]
    assert text.endswith("}\n")


def test_endless_names_are_cut() -> None:
    assert printable("a" * 100_000) == "a" * 4_096 + "… (100000 characters)"
