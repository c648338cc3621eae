"""Paths that the kernel refuses to a test's own process, also when it runs as root."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest


def close_paths(
    monkeypatch: pytest.MonkeyPatch, *paths: Path, error: int = errno.EACCES, calls: Collection[str] = ("scandir",)
) -> None:
    """Let calls of `os` on some paths fail as for a user without permission, or on a disk with errors.

    Args:
        monkeypatch: Undoes it.
        paths: The paths.
        error: The error of each call.
        calls: Names of functions of `os`.
    """
    closed = {os.fspath(path) for path in paths}
    for name in calls:
        monkeypatch.setattr(os, name, _refuse(getattr(os, name), closed, error))


def _refuse(call: Callable[..., Any], closed: set[str], error: int) -> Callable[..., Any]:
    def refuse(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        if not isinstance(path, int) and os.fspath(path) in closed:
            raise OSError(error, os.strerror(error), os.fspath(path))
        return call(path, *arguments, **options)

    return refuse
