"""Code that runs in a child process, with failpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

KILLED: Final = -9


def in_child(code: str, *arguments: str | Path, failpoints: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "COMFYWATCHMAN_FAILPOINTS": failpoints},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
