"""`comfywatchman setup` on a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.terminals import INTERRUPT, Session, run_in_terminal

pytestmark = pytest.mark.slow


def run_setup(tmp_path: Path, *keys: tuple[str, str], columns: int = 80) -> Session:
    comfyui = tmp_path / "ComfyUI"
    (comfyui / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (comfyui / name).touch()
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return run_in_terminal(
        ["--comfyui", str(comfyui), "setup"], keys, folder=tmp_path, variables=variables, columns=columns
    )


def config(tmp_path: Path) -> Path:
    return tmp_path / ".config" / "comfywatchman" / "config.toml"


def test_configuration_is_written_after_a_yes(tmp_path: Path) -> None:
    session = run_setup(tmp_path, ("Write this? [Y/n]", "\n"), ("user service? [y/N]", "n\n"))
    assert session.status == 0
    assert str(tmp_path / "ComfyUI") in config(tmp_path).read_text()
    assert "Saved" in session.text
    assert not (tmp_path / ".config" / "systemd").exists()


def test_no_is_not_an_error(tmp_path: Path) -> None:
    session = run_setup(tmp_path, ("Write this? [Y/n]", "n\n"))
    assert session.status == 1
    assert session.text.endswith("Nothing was written.\n")
    assert "Error" not in session.text
    assert not config(tmp_path).exists()


def test_interrupt_writes_nothing(tmp_path: Path) -> None:
    session = run_setup(tmp_path, ("Write this? [Y/n]", INTERRUPT))
    assert session.status == 130
    assert "Traceback" not in session.text
    assert not config(tmp_path).exists()


def test_narrow_window_breaks_no_line_of_the_table(tmp_path: Path) -> None:
    session = run_setup(tmp_path, ("Write this?", "n\n"), columns=60)
    table = session.text.partition("For ")[0]
    assert max(map(len, table.splitlines())) <= 60
