"""A hash over the code in a folder, whether git tracks it or not."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CODE_SUFFIXES: Final = frozenset({".py", ".pyx", ".so", ".pyd", ".js", ".mjs", ".cjs", ".sh", ".bat"})
"""Files that are run or served to browsers; other files (settings, caches, models) change in normal use."""

_REQUIREMENT_FILES: Final = re.compile(r"requirements[^/]*\.txt|pyproject\.toml|setup\.cfg")
_SKIPPED_FOLDERS: Final = frozenset({".git", "__pycache__", "node_modules", ".venv", "venv"})
_MAX_FILES: Final = 50_000
_BLOCK: Final = 1 << 20


def hash_code_tree(folder: Path) -> str | None:
    """Return the SHA-256 over names, links, execute bits and contents of a folder's code; of one file its own.

    Links in the folder are not followed: the hash covers the target's path, not its content.

    Returns:
        None when the folder cannot be read or holds more than 50,000 code files.
    """
    digest = hashlib.sha256()
    try:
        mode = os.stat(folder).st_mode
        if stat.S_ISREG(mode):
            return _hash_file(os.fspath(folder))
        if not stat.S_ISDIR(mode):
            return None
        for count, (name, entry) in enumerate(_walk_code(os.fspath(folder), "")):
            if count >= _MAX_FILES:
                return None
            digest.update(_digest_record(name, entry))
    except OSError:
        return None
    return digest.hexdigest()


def copy_code_tree(folder: Path, target: Path) -> None:
    """Copy the code in a folder, which `hash_code_tree` covers, into another one; other files there stay.

    Raises:
        OSError: A file could not be read or written.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, entry in _walk_code(os.fspath(folder), ""):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(entry.path, path, follow_symlinks=False)


def delete_code_tree(folder: Path) -> None:
    """Delete the code in a folder, which `hash_code_tree` covers; other files stay.

    Raises:
        OSError: A file could not be deleted.
    """
    for name, _entry in list(_walk_code(os.fspath(folder), "")):
        (folder / name).unlink()


def replace_code_tree(new: Path, folder: Path, aside: Path) -> None:
    """Put the code of a folder in the place of that of another one; other files there stay.

    The replaced code is moved aside first, and comes back when the new one cannot be moved. All three folders must be
    on one file system.

    Args:
        new: The folder that the code is moved out of.
        folder: The folder whose code is replaced.
        aside: A new folder for the replaced code; it is only left when the code could not be moved back.

    Raises:
        OSError: A file could not be moved.
    """
    try:
        _move_code_tree(folder, aside)
        try:
            _move_code_tree(new, folder)
        except OSError:
            delete_code_tree(folder)
            raise
    except OSError:
        _move_code_tree(aside, folder)
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _move_code_tree(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, entry in list(_walk_code(os.fspath(folder), "")):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(entry.path, path)


def _walk_code(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as scan:
        # By bytes, not by text: names that are not UTF-8 must sort the same on every machine.
        entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        name = prefix + entry.name
        if entry.is_symlink():
            yield name, entry
        elif entry.is_dir():
            if entry.name not in _SKIPPED_FOLDERS:
                yield from _walk_code(entry.path, f"{name}/")
        elif _is_code(entry.name) and entry.is_file():
            yield name, entry


def _is_code(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in _CODE_SUFFIXES or _REQUIREMENT_FILES.fullmatch(name) is not None


def _digest_record(name: str, entry: os.DirEntry[str]) -> bytes:
    if entry.is_symlink():
        kind = b"link"
        content_hash = hashlib.sha256(os.fsencode(os.readlink(entry.path))).hexdigest()
    else:
        is_executable = entry.stat().st_mode & stat.S_IXUSR
        kind = b"run" if is_executable else b"file"
        content_hash = _hash_file(entry.path)
    # NUL cannot occur in a name, so two different records never have the same bytes.
    return b"\0".join((kind, os.fsencode(name), content_hash.encode())) + b"\n"


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
