"""Finishing a checkout of ComfyUI that was killed: git then left its lock, and some files of the other commit.

A plain `git checkout` refuses both. It is forced only where nothing can be lost: no git is working in the folder, and
each file is as it is in one of the two commits.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.git_clone import query_git
from comfywatchman.base.text import shorten_list

_QUERY_SECONDS: Final = 120.0
_LOCKS: Final = ("index.lock", "HEAD.lock")
_SUBMODULE_MODE: Final = "160000"
_FILES_PER_CALL: Final = 200
_SHA1_DIGITS: Final = 40


def prepare_forced_checkout(folder: Path, before: str, after: str, *, command: str) -> None:
    """Require that a forced checkout loses nothing, and remove the locks that a killed git left.

    Args:
        folder: The working copy; no other process may move it meanwhile.
        before: The commit before.
        after: The commit to check out.
        command: The command that forces the checkout, for people.

    Raises:
        Failure: `gov-comfyui-changed` with a hint that names the command; nothing was changed then. Or `git-missing`
            or `child-timeout`.
    """
    shown = printable_path(folder)
    git_folder = query_git(folder, "rev-parse", "--absolute-git-dir", timeout_seconds=_QUERY_SECONDS)
    if git_folder is None:
        raise Failure("gov-comfyui-changed", f"git cannot read {shown}.", hint=f"See why: git -C {shown} status")
    running = find_running_git(folder)
    if running:
        raise Failure(
            "gov-comfyui-changed",
            f"git is working in {shown} (process {', '.join(map(str, running))}).",
            hint="Wait until it ends, or end it; the next gov command finishes the change.",
        )
    foreign = find_foreign_files(folder, before, after)
    if foreign:
        raise Failure(
            "gov-comfyui-changed",
            f"{shown} has files that are neither those of {before[:12]} nor those of {after[:12]}, so they would be "
            f"lost: {shorten_list(foreign)}. Keep what you need of them, then overwrite them: {command}",
            hint="The next gov command finishes the change then.",
        )
    for name in _LOCKS:
        (Path(git_folder) / name).unlink(missing_ok=True)


def find_running_git(folder: Path) -> tuple[int, ...]:
    """Return the processes of git that work in a folder or below it, or whose folder cannot be read."""
    import psutil

    inside = folder.resolve()
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "git":
            continue
        try:
            is_inside = Path(process.cwd()).is_relative_to(inside)
        except (psutil.NoSuchProcess, FileNotFoundError):
            # It ended meanwhile, or is a zombie.
            continue
        except psutil.AccessDenied:
            # The folder of another user's process is hidden; it may well be this one.
            is_inside = True
        if is_inside:
            found.append(process.pid)
    return tuple(found)


def find_foreign_files(folder: Path, before: str, after: str) -> tuple[str, ...]:
    """Return the files of a working copy that a forced checkout would overwrite, and that neither commit has so.

    A missing or empty file counts as one that git was about to write. Untracked files that neither commit has stay.

    Raises:
        Failure: `git-missing`, `child-failed` or `child-timeout`.
    """
    between = _list_changes(folder, before, after)
    comparison = ("diff", "--name-only", "-z", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", before)
    differing = query_git(folder, *comparison, "--", timeout_seconds=_QUERY_SECONDS)
    if between is None or differing is None:
        return ("unknown, git cannot compare them",)
    foreign = {path for path in differing.split("\0") if path and path not in between}
    unread = []
    for path in between:
        kind = _find_kind(folder / path)
        # A name that is not UTF-8 was decoded with replacements, so its file was not found.
        if "\ufffd" in path:
            kind = "other"
        if kind == "other" or (kind == "link" and _hash_link(folder / path, between[path]) not in between[path]):
            foreign.add(path)
        elif kind == "file":
            unread.append(path)
    for start in range(0, len(unread), _FILES_PER_CALL):
        paths = unread[start : start + _FILES_PER_CALL]
        output = query_git(folder, "hash-object", "--", *paths, timeout_seconds=_QUERY_SECONDS)
        hashes = [""] * len(paths) if output is None else output.split("\n")
        foreign |= {path for path, blob in zip(paths, hashes, strict=True) if blob not in between[path]}
    return tuple(sorted(foreign))


def _list_changes(folder: Path, before: str, after: str) -> dict[str, tuple[str, str]] | None:
    """Return the hashes of each file that differs between two commits; submodules are left out."""
    comparison = ("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", before, after)
    output = query_git(folder, *comparison, timeout_seconds=_QUERY_SECONDS)
    if output is None:
        return None
    fields = output.removesuffix("\0").split("\0") if output else []
    changes = {}
    # Each change is `:MODE MODE HASH HASH STATUS`, then the path (git-diff-tree(1), "raw output format").
    for facts, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, new_mode, old_hash, new_hash, _status = facts.removeprefix(":").split(" ")
        if _SUBMODULE_MODE not in {old_mode, new_mode}:
            changes[path] = (old_hash, new_hash)
    return changes


def _find_kind(path: Path) -> str:
    """Return `file`, `link`, `gone` (also for an empty file, and a folder in its place) or `other`."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    if stat.S_ISLNK(status.st_mode):
        return "link"
    if stat.S_ISREG(status.st_mode):
        return "file" if status.st_size else "gone"
    return "other"


def _hash_link(path: Path, hashes: tuple[str, str]) -> str:
    """Return the hash that git gives a symbolic link, by the algorithm of other hashes."""
    target = os.fsencode(path.readlink())
    algorithm = "sha1" if len(hashes[0]) == _SHA1_DIGITS else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(target) + target, usedforsecurity=False).hexdigest()
