"""Named places where tests break the program: each name is placed, and each verb does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.base.failpoints import NAMES

PACKAGE = Path(__file__).parents[2] / "comfywatchman"


def run(setting: str) -> subprocess.CompletedProcess[str]:
    code = """
from comfywatchman.base.failpoints import failpoint
failpoint("files.after_rename")
try:
    failpoint("files.before_rename")
except OSError as error:
    print(error.errno, error.strerror)
print("went on")
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "COMFYWATCHMAN_FAILPOINTS": setting},
        capture_output=True,
        text=True,
        check=False,
    )


def test_registered_failpoints_are_those_in_the_code() -> None:
    placed = {
        name for path in PACKAGE.rglob("*.py") for name in re.findall(r'failpoint\("([^"]+)"\)', path.read_text())
    }
    assert placed == NAMES


def test_unarmed_failpoints_do_nothing() -> None:
    assert run("").stdout == "went on\n"


def test_failpoint_kills() -> None:
    assert run("files.before_rename=kill").returncode == -9


def test_failpoint_raises_the_named_error() -> None:
    assert run("files.before_rename=raise:ENOSPC").stdout == "28 No space left on device\nwent on\n"


def test_failpoint_sleeps() -> None:
    assert run("index.after_commit=kill,files.before_rename=sleep:0.01").stdout == "went on\n"


@pytest.mark.parametrize("setting", ["no.such=kill", "files.before_rename=kill,nor.this=kill"])
def test_unknown_failpoint_is_refused(setting: str) -> None:
    ended = run(setting)
    assert ended.returncode == 1
    assert "names unknown failpoints" in ended.stderr


def test_number_after_the_name_selects_one_hit() -> None:
    assert run("files.before_rename#2=kill").stdout == "went on\n"
    assert run("files.before_rename#1=kill").returncode == -9
