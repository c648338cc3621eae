"""What a git working copy is at, read without running anything that the repository itself defines.

A repository's own configuration can name programs (fsmonitor, filters, hooks, diff drivers) that plain `git status`
would start. Commit and origin are therefore read as files, and the one real `git` works in a private git folder.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.process import run_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SECTION: Final = re.compile(r'\[\s*([-.\w]+)\s*(?:"((?:[^"\\\n]|\\.)*)")?\s*\]')
_SETTING: Final = re.compile(r"([A-Za-z][-A-Za-z0-9]*)\s*(?:=\s*(.*))?$", re.DOTALL)
_VALUE_PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?|\\(.)|([#;].*)|([^"\\#;]+)', re.DOTALL)
_SCP_ADDRESS: Final = re.compile(r"(?:([^@/:]*)@)?([^@/:]+):(?!//)(.+)")
_MAX_TEXT_BYTES: Final = 1 << 20
_MAX_REFS_BYTES: Final = 32 << 20
_MAX_INDEX_BYTES: Final = 256 << 20
_MAX_SYMBOLIC_STEPS: Final = 5
_SAFE_SETTINGS: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("core", "filemode"): frozenset({"true", "false"}),
    ("core", "symlinks"): frozenset({"true", "false"}),
    ("core", "ignorecase"): frozenset({"true", "false"}),
    ("core", "autocrlf"): frozenset({"true", "false", "input"}),
    ("core", "eol"): frozenset({"lf", "crlf", "native"}),
    ("extensions", "objectformat"): frozenset({"sha1", "sha256"}),
}
"""The repository's settings that decide what counts as modified; none of them can name a program or a path."""

_PRIVATE_CONFIG: Final = """[core]
\trepositoryformatversion = 1
\tbare = false
\thooksPath = /dev/null
\tfsmonitor = false
\tuntrackedCache = false
"""
_STATUS_COMMAND: Final = (
    *("git", "--no-pager", "status", "--porcelain", "-z"),
    # Untracked files come from running a pack; submodules have configurations of their own, which git would obey.
    *("--untracked-files=no", "--ignore-submodules=all", "--no-renames"),
)


def read_head(folder: Path) -> str | None:
    """Return the commit that a working copy is at, or None when it is none or has no commit yet.

    Reads `.git` (also the file form of worktrees and submodules), loose references and `packed-refs`; the newer
    reftable storage is not read.
    """
    return _resolve_commit(*_find_git_folders(folder))


def read_origin(folder: Path) -> str | None:
    """Return the address of the remote `origin` without credentials, or None when there is none."""
    _, common = _find_git_folders(folder)
    settings = _parse_settings(_read_text(common / "config") or "")
    url = next((value for *place, value in settings if place == ["remote", "origin", "url"]), None)
    return _strip_credentials(url) if url else None


def is_dirty(folder: Path, *, timeout_seconds: float) -> bool | None:
    """Say whether tracked files differ from the commit; untracked files and `__pycache__` do not count.

    A changed submodule is not seen.

    Returns:
        None when it cannot be told: no working copy, no commit, no `git`, a damaged repository, out of time.
    """
    git_folder, common = _find_git_folders(folder)
    commit = _resolve_commit(git_folder, common)
    if commit is None:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="comfywatchman-git-") as name:
            private = Path(name)
            _prepare_git_folder(private, commit, git_folder, common)
            ended = run_bounded(
                _STATUS_COMMAND,
                timeout_seconds=timeout_seconds,
                extra_environment=_build_git_environment(private, folder.absolute(), common / "objects"),
                # Not the working copy: a PATH with a relative entry would find its programs there.
                folder=private,
            )
    except (Failure, OSError):
        return None
    return None if ended.status else any(map(_is_tracked_change, ended.output.split(b"\0")))


def _prepare_git_folder(private: Path, commit: str, git_folder: Path, common: Path) -> None:
    """Make a git folder of our own: the commit, a copy of the index, and settings that start nothing."""
    settings = _parse_settings(_read_text(common / "config") or "")
    kept = [
        f"[{section}]\n\t{key} = {value.lower()}\n"
        for section, subsection, key, value in settings
        if not subsection and value.lower() in _SAFE_SETTINGS.get((section, key), ())
    ]
    index = read_regular(git_folder / "index", max_bytes=_MAX_INDEX_BYTES)
    (private / "refs").mkdir()
    (private / "HEAD").write_text(f"{commit}\n", "ascii")
    (private / "config").write_text("".join(kept) + _PRIVATE_CONFIG, "ascii")
    (private / "index").write_bytes(index)


def _build_git_environment(private: Path, folder: Path, objects: Path) -> dict[str, str]:
    return {
        "GIT_DIR": str(private),
        "GIT_WORK_TREE": str(folder),
        "GIT_INDEX_FILE": str(private / "index"),
        "GIT_OBJECT_DIRECTORY": str(objects.absolute()),
        "HOME": str(private),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _is_tracked_change(entry: bytes) -> bool:
    path = entry[3:]
    return bool(path) and b"__pycache__" not in path.split(b"/")


def _find_git_folders(folder: Path) -> tuple[Path, Path]:
    """Name the git folder of a working copy and the one of its objects, branches and settings; neither need exist."""
    place = folder / ".git"
    # A file in its place names the folder (worktrees, submodules); a folder gives no text.
    label, _, target = (_read_text(place) or "").partition(":")
    if label == "gitdir":
        place = folder / target.strip()
    common = (_read_text(place / "commondir") or "").strip()
    return place, place / common


def _resolve_commit(git_folder: Path, common: Path) -> str | None:
    name = "HEAD"
    for _ in range(_MAX_SYMBOLIC_STEPS):
        content = (
            _read_text((git_folder if name == "HEAD" else common) / name) or _find_packed_commit(common, name) or ""
        )
        content = content.strip()
        if _COMMIT.fullmatch(content):
            return content
        label, _, name = (part.strip() for part in content.partition(":"))
        if label != "ref" or not name.startswith("refs/") or ".." in name:
            return None
    return None


def _find_packed_commit(common: Path, name: str) -> str | None:
    for line in (_read_text(common / "packed-refs", max_bytes=_MAX_REFS_BYTES) or "").splitlines():
        commit, _, reference = line.partition(" ")
        if reference == name:
            return commit
    return None


def _read_text(path: Path, *, max_bytes: int = _MAX_TEXT_BYTES) -> str | None:
    try:
        return read_regular(path, max_bytes=max_bytes).decode("utf-8", "replace")
    except Failure:
        return None


def _parse_settings(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Read git's configuration format: section, subsection, key and value of each setting; includes are not followed.

    git-config(1), section "Syntax".
    """
    section, subsection = "", ""
    for line in re.sub(r"\\\r?\n", "", text).splitlines():
        rest = line.strip()
        if head := _SECTION.match(rest):
            section, subsection = head[1].lower(), re.sub(r"\\(.)", r"\1", head[2] or "")
            if head[2] is None:
                section, _, subsection = section.partition(".")
            rest = rest[head.end() :].strip()
        if setting := _SETTING.match(rest):
            yield section, subsection, setting[1].lower(), _parse_value(setting[2])


def _parse_value(text: str | None) -> str:
    if text is None:
        return "true"
    parts = []
    for quoted, escaped, comment, plain in _VALUE_PART.findall(text):
        if comment:
            break
        parts.append(re.sub(r"\\(.)", r"\1", quoted) or escaped or plain)
    return "".join(parts).strip()


def _strip_credentials(url: str) -> str | None:
    """Return an address fit to be shown: no user information, no query; None when it holds control characters."""
    if not url.isprintable():
        return None
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    scp = _SCP_ADDRESS.fullmatch(url)
    if scp is None:
        return url
    return f"{'git@' if scp[1] == 'git' else ''}{scp[2]}:{scp[3]}"
