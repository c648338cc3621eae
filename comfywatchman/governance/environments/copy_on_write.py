"""Own copies, at the moment of writing, of files that a candidate shares with uv's cache and with production.

Environments are made of hard links, so a node that patches an installed file in place patches it everywhere. Copying
every file beforehand costs ten times what linking does. In a candidate each Python therefore begins by hooking the
opening of files (PEP 578): one that is opened for writing and has further links gets a copy of its own first.
What writes without Python's `open` is not seen; `integrity.modified` finds that afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, write_if_changed

_NAME: Final = "_gov_own_copies"
_HOOK: Final = f"import {_NAME}\n".encode()
_MODULE: Final = b'''\
"""Written by gov into a candidate environment: a file that others share is copied before it is written to."""

import os
import shutil
import stat
import sys

_ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "..")) + os.sep
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND


def _own(event, arguments):
    if event == "open":
        if not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
            return
    elif event != "os.truncate":
        return
    try:
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not path.startswith(_ROOT):
            return
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink < 2:
            return
        copy = "%s.gov-%d" % (path, os.getpid())
        shutil.copy2(path, copy)
        os.replace(copy, path)
    except (OSError, TypeError, ValueError):
        return


sys.addaudithook(_own)
'''


def install_hook(environment: Path) -> None:
    """Make every Python of an environment give files their own bytes before it writes to them.

    Raises:
        Failure: `state-unwritable`.
    """
    for place in environment.glob("lib/python*/site-packages"):
        write_if_changed(place / f"{_NAME}.py", _MODULE)
        write_if_changed(place / f"{_NAME}.pth", _HOOK)


def is_own_hook(path: Path) -> bool:
    """Say whether a file that runs at every start is the hook, unchanged."""
    try:
        return (
            path.name == f"{_NAME}.pth"
            and read_regular(path, max_bytes=len(_HOOK)) == _HOOK
            and read_regular(path.with_suffix(".py"), max_bytes=len(_MODULE)) == _MODULE
        )
    except Failure:
        return False
