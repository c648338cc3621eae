"""Take requests in the image: `comfywatchman handler serve`, `handler runpod`, or `handler run` for one.

Example:
    python docker/handler/main.py run request.json --json
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final, NoReturn

PROGRAM: Final = "comfywatchman"
NOT_FOUND: Final = 127


def run_program(*arguments: str) -> NoReturn:
    """Replace this process by comfywatchman, so that signals and the exit code are its own."""
    program = shutil.which(PROGRAM)
    if program is None:
        sys.stderr.write(f"{PROGRAM} is not on PATH.\n")
        raise SystemExit(NOT_FOUND)
    os.execv(program, [program, *arguments])  # noqa: S606 - a fixed program, and no shell


if __name__ == "__main__":
    run_program("handler", *(sys.argv[1:] or ["serve"]))
