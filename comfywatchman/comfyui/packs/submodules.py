"""Git submodules of a pack that were not fetched: `git clone` without `--recurse-submodules`, or a ZIP archive."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular

_MAX_BYTES: Final = 1 << 16
_PATH: Final = re.compile(r"^[ \t]*path[ \t]*=[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def find_unfetched_submodules(pack: Path) -> tuple[str, ...]:
    """Return the folders of submodules that are empty or absent, relative to the pack's folder."""
    try:
        text = read_regular(pack / ".gitmodules", max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    except Failure:
        return ()
    folders: list[str] = []
    for path in _PATH.findall(text):
        folder = PurePosixPath(path.strip('"'))
        # The file belongs to the pack: a path out of its folder is not looked at.
        if not folder.is_absolute() and ".." not in folder.parts and not _has_files(pack / folder):
            folders.append(str(folder))
    return tuple(dict.fromkeys(folders))


def _has_files(folder: Path) -> bool:
    try:
        return any(name != ".git" for name in os.listdir(folder))
    except NotADirectoryError:
        return True
    except OSError:
        return False
