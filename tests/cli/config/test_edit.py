"""`comfywatchman config edit`, with a program as the editor that replaces a text."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from tests.cli.config.runs import run_config, user_file
from tests.cli.terminals import run_in_terminal

REPLACE = """
import pathlib, sys

old, new, path = sys.argv[1:]
file = pathlib.Path(path)
file.write_text(file.read_text().replace(old, new))
"""


def replacing(old: str, new: str) -> str:
    """Return the command of an editor that replaces a text by another one."""
    return shlex.join([sys.executable, "-c", REPLACE, old, new])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = user_file(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_text("[schedule]\nmin_vram_gb = 1  # small card\n")
    return place


def test_valid_text_is_saved(tmp_path: Path, file: Path) -> None:
    result = run_config(tmp_path, "edit", EDITOR=replacing("1", "2"), VISUAL=None)
    assert result.output == f"Saved {file}.\n"
    assert file.read_text() == "[schedule]\nmin_vram_gb = 2  # small card\n"


def test_unchanged_text_is_not_written(tmp_path: Path, file: Path) -> None:
    result = run_config(tmp_path, "edit", EDITOR="true", VISUAL=None)
    assert result.output == f"Nothing changed in {file}.\n"


def test_mistake_keeps_file_and_text(tmp_path: Path, file: Path) -> None:
    failure = run_config(tmp_path, "edit", EDITOR=replacing("1", "true"), VISUAL=None).exception
    assert isinstance(failure, Failure)
    assert failure.code == "config-wrong-type"
    kept = file.with_name("config.toml.rejected")
    assert failure.hint == f"{file} is unchanged; your text is in {kept}."
    assert "= true" in kept.read_text()
    assert "= 1" in file.read_text()


def test_second_mistake_keeps_both_texts(tmp_path: Path, file: Path) -> None:
    for value in ("true", "false"):
        run_config(tmp_path, "edit", EDITOR=replacing("1", value), VISUAL=None)
    assert "= true" in file.with_name("config.toml.rejected").read_text()
    assert "= false" in file.with_name("config.toml.rejected-2").read_text()


def test_saved_text_ends_the_rejected_one(tmp_path: Path, file: Path) -> None:
    run_config(tmp_path, "edit", EDITOR=replacing("1", "true"), VISUAL=None)
    run_config(tmp_path, "edit", EDITOR=replacing("1", "2"), VISUAL=None)
    assert not file.with_name("config.toml.rejected").exists()


def test_missing_editor_is_reported(tmp_path: Path, file: Path) -> None:
    failure = run_config(tmp_path, "edit", EDITOR=str(file.parent / "none"), VISUAL=None).exception
    assert isinstance(failure, Failure)
    assert "The editor could not be used" in failure.message


@pytest.mark.parametrize(
    "editor",
    [
        None,
        "vim",
        "/usr/bin/nano -w",
        "env vim",
        "TERM=xterm vim",
        "env -i TERM=xterm /usr/bin/vim",
        "sudo -u root vim",
        "sudo -e",
        "sudoedit",
        "emacs -nw",
        "emacs --no-window-system",
        "emacsclient -t",
        "env emacsclient -c --tty",
    ],
)
def test_editor_that_needs_a_terminal_is_refused_without_one(tmp_path: Path, file: Path, editor: str | None) -> None:
    failure = run_config(tmp_path, "edit", EDITOR=editor, VISUAL=None).exception
    assert isinstance(failure, Failure)
    assert failure.message.endswith("and this is not a terminal.")
    assert "config set SECTION.KEY VALUE" in (failure.hint or "")
    assert file.read_text() == "[schedule]\nmin_vram_gb = 1  # small card\n"


@pytest.mark.parametrize("wrapper", ["env", "env LANG=C", "env -u LANG"])
def test_other_editor_behind_a_wrapper_is_used(tmp_path: Path, file: Path, wrapper: str) -> None:
    result = run_config(tmp_path, "edit", EDITOR=f"{wrapper} {replacing('1', '2')}", VISUAL=None)
    assert result.output == f"Saved {file}.\n"


def test_editor_can_be_named_by_an_option(tmp_path: Path, file: Path) -> None:
    result = run_config(tmp_path, "edit", "--editor", replacing("1", "2"), EDITOR="vim", VISUAL=None)
    assert result.output == f"Saved {file}.\n"


@pytest.mark.slow
def test_editor_of_the_terminal_is_used_in_one(tmp_path: Path, file: Path) -> None:
    # A program by the name of a terminal editor, which needs no keys.
    editor = tmp_path / "bin" / "nano"
    editor.parent.mkdir()
    editor.write_text(f'#!/bin/sh\nexec {replacing("1", "3")} "$1"\n')
    editor.chmod(0o755)
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "EDITOR": str(editor)}
    session = run_in_terminal(["config", "edit"], [], folder=tmp_path, variables=variables, columns=200)
    assert session.status == 0, session.text
    assert "min_vram_gb = 3" in file.read_text()
