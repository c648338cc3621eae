"""Start comfywatchman from a script of this folder: that of the checkout, else the one on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

CHECKOUT = Path(__file__).resolve().parents[2]


def note(text: str) -> None:
    """Print a note on standard error; standard output is for results."""
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)


def run_comfywatchman(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by comfywatchman."""
    own = CHECKOUT / ".venv" / "bin" / "comfywatchman"
    program = str(own) if os.access(own, os.X_OK) else shutil.which("comfywatchman")
    if program is None:
        note(f"comfywatchman is not installed: run `make setup` in {CHECKOUT}.")
        raise SystemExit(127)
    sys.stderr.flush()
    os.execv(program, [program, *arguments])  # noqa: S606 - a fixed program, and no shell


def split_pip_arguments(text: str) -> list[str]:
    """Return the options of comfywatchman for those of pip; others end the script with status 2."""
    words = [part for word in text.split() for part in word.split("=", 1)]
    names = {"--index-url": "--index", "-i": "--index", "--find-links": "--find-links", "-f": "--find-links"}
    options = []
    for position in range(0, len(words), 2):
        name, value = words[position], words[position + 1 : position + 2]
        if name not in names or not value:
            note(f"--pip-extra-args: only --index-url and --find-links with a value are supported, not {name}.")
            raise SystemExit(2)
        options += [names[name], *value]
    return options
