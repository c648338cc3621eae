"""Golden files: expected outputs as text, compared with what the program prints now.

`UPDATE_GOLDEN=1 pytest tests/cli/test_golden.py` writes them again; `git diff tests/cli/golden` shows what changed.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
IS_UPDATING = bool(os.environ.get("UPDATE_GOLDEN"))


def compare_golden(name: str, text: str) -> None:
    """Compare a text with the golden file of that name; write the file when golden files are updated."""
    # A person sees no spaces at the end of a line, and editors remove them.
    shown = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    path = FOLDER / f"{name}.txt"
    if IS_UPDATING:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, "utf-8")
    assert path.read_text("utf-8") == shown, f"{path.name} differs; see {__name__} for how to update it"
