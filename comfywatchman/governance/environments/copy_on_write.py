"""Copy on write for candidates: files shared with uv's cache and production are copied before they are written.

Environments are made of hard links, so a node that patches an installed file in place patches it everywhere. Copying
every file beforehand takes ten times as long as linking. In a candidate, each Python process therefore starts with an
audit hook (PEP 578): a file that is opened for writing and has other links is replaced by a copy first. Programs that
do not open files through Python are missed; `integrity.verify` finds their changes afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, write_if_changed

_NAME: Final = "_gov_own_copies"
_HOOK: Final = f"import {_NAME}\n".encode()
_MODULE: Final = b'''\
"""Written by gov into a candidate environment: a shared file is copied before it is written."""

import os
import shutil
import stat
import sys

_ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")) + os.sep
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND


def _copy_before_write(event, arguments):
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


sys.addaudithook(_copy_before_write)
'''


def install_hook(environment: Path) -> None:
    """Install the hook into an environment: each of its Python processes copies shared files before writing to them.

    Raises:
        Failure: `state-unwritable`.
    """
    for site_packages in environment.glob("lib/python*/site-packages"):
        write_if_changed(site_packages / f"{_NAME}.py", _MODULE)
        write_if_changed(site_packages / f"{_NAME}.pth", _HOOK)


def is_own_hook(path: Path) -> bool:
    """Return whether a `.pth` file is the hook, unchanged."""
    if path.name != f"{_NAME}.pth":
        return False
    try:
        hook = read_regular(path, max_bytes=len(_HOOK))
        module = read_regular(path.with_suffix(".py"), max_bytes=len(_MODULE))
    except Failure:
        # Longer than the original, a pipe, or unreadable.
        return False
    return hook == _HOOK and module == _MODULE
