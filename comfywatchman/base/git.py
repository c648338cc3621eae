"""Commit, origin and modifications of a git working copy, without running programs that its repository configures.

A repository's configuration can name programs (fsmonitor, filters, hooks, diff drivers) that a plain `git status` would
start. Commit and origin are therefore read as files, and the one call of `git` works in a private git folder.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.process import run_with_timeout

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
"""Settings of the repository that decide which files count as modified. None of them can name a program or a path."""

_PRIVATE_CONFIG: Final = """[core]
\trepositoryformatversion = 1
\tbare = false
\thooksPath = /dev/null
\tfsmonitor = false
\tuntrackedCache = false
"""
_STATUS_COMMAND: Final = (
    "git",
    "--no-pager",
    "status",
    "--porcelain",
    "-z",
    # Running a pack creates untracked files.
    "--untracked-files=no",
    # Submodules have configurations of their own, which git would follow.
    "--ignore-submodules=all",
    "--no-renames",
)


def read_head(folder: Path) -> str | None:
    """Return the commit that is checked out, or None when the folder is not a working copy or has no commit yet.

    Supports `.git` folders and files (worktrees, submodules), loose references and `packed-refs`, but not the newer
    reftable storage.
    """
    return _resolve_commit(*_find_git_folders(folder))


def read_origin(folder: Path) -> str | None:
    """Return the address of the remote `origin` without credentials, or None when there is none."""
    _, common = _find_git_folders(folder)
    for section, subsection, key, value in _parse_settings(_read_text(common / "config") or ""):
        if (section, subsection, key) == ("remote", "origin", "url"):
            return _strip_credentials(value) if value else None
    return None


def is_dirty(folder: Path, *, timeout_seconds: float) -> bool | None:
    """Return whether tracked files differ from the commit; untracked files and `__pycache__` are ignored.

    Changes in submodules are not detected.

    Returns:
        None when it is not known: no working copy, no commit, no `git`, a corrupt repository, or a timeout.
    """
    git_folder, common = _find_git_folders(folder)
    commit = _resolve_commit(git_folder, common)
    if commit is None:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="comfywatchman-git-") as name:
            private = Path(name)
            _prepare_git_folder(private, commit, git_folder, common)
            status = run_with_timeout(
                _STATUS_COMMAND,
                timeout_seconds=timeout_seconds,
                extra_environment=_build_git_environment(private, folder.absolute(), common / "objects"),
                # Not the working copy: a relative entry in PATH would find programs there.
                folder=private,
            )
    except (Failure, OSError):
        return None
    if status.status != 0:
        return None
    return any(_is_relevant_change(entry) for entry in status.output.split(b"\0"))


def _prepare_git_folder(private: Path, commit: str, git_folder: Path, common: Path) -> None:
    """Fill a private git folder with the commit, a copy of the index, and settings that start no program."""
    config = ""
    for section, subsection, key, value in _parse_settings(_read_text(common / "config") or ""):
        safe_values = _SAFE_SETTINGS.get((section, key), frozenset())
        if not subsection and value.lower() in safe_values:
            config += f"[{section}]\n\t{key} = {value.lower()}\n"
    index = read_regular(git_folder / "index", max_bytes=_MAX_INDEX_BYTES)
    (private / "refs").mkdir()
    (private / "HEAD").write_text(f"{commit}\n", "ascii")
    # Ours come last and win.
    (private / "config").write_text(config + _PRIVATE_CONFIG, "ascii")
    (private / "index").write_bytes(index)


def _build_git_environment(private: Path, folder: Path, objects: Path) -> dict[str, str]:
    # git(1), section "Environment Variables"
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


def _is_relevant_change(entry: bytes) -> bool:
    # Each entry of `--porcelain -z` is two letters of status, a space and the path; the last entry is empty.
    path = entry[3:]
    return bool(path) and b"__pycache__" not in path.split(b"/")


def _find_git_folders(folder: Path) -> tuple[Path, Path]:
    """Return the git folder of a working copy, and the one with its objects, branches and settings.

    The two differ for worktrees. Neither need exist.
    """
    git_folder = folder / ".git"
    # In worktrees and submodules .git is a file that names the folder; reading a folder as text gives nothing.
    label, _, target = (_read_text(git_folder) or "").partition(":")
    if label == "gitdir":
        git_folder = folder / target.strip()
    common = (_read_text(git_folder / "commondir") or "").strip()
    return git_folder, git_folder / common


def _resolve_commit(git_folder: Path, common: Path) -> str | None:
    reference = "HEAD"
    for _ in range(_MAX_SYMBOLIC_STEPS):
        content = _read_reference(git_folder, common, reference).strip()
        if _COMMIT.fullmatch(content):
            return content
        label, _, target = content.partition(":")
        reference = target.strip()
        # `..` would lead out of the git folder.
        if label.strip() != "ref" or not reference.startswith("refs/") or ".." in reference:
            return None
    return None


def _read_reference(git_folder: Path, common: Path, reference: str) -> str:
    # Only HEAD belongs to the worktree; branches and tags are shared.
    folder = git_folder if reference == "HEAD" else common
    return _read_text(folder / reference) or _search_packed_refs(common, reference) or ""


def _search_packed_refs(common: Path, reference: str) -> str | None:
    packed = _read_text(common / "packed-refs", max_bytes=_MAX_REFS_BYTES) or ""
    for line in packed.splitlines():
        commit, _, packed_reference = line.partition(" ")
        if packed_reference == reference:
            return commit
    return None


def _read_text(path: Path, *, max_bytes: int = _MAX_TEXT_BYTES) -> str | None:
    try:
        return read_regular(path, max_bytes=max_bytes).decode("utf-8", "replace")
    except Failure:
        return None


def _parse_settings(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Parse git's configuration format; yield section, subsection, key and value of each setting.

    Includes are not followed. The format is described in git-config(1), section "Syntax".
    """
    section, subsection = "", ""
    joined = re.sub(r"\\\r?\n", "", text)
    for line in joined.splitlines():
        rest = line.strip()
        header = _SECTION.match(rest)
        if header:
            section = header[1].lower()
            subsection = re.sub(r"\\(.)", r"\1", header[2] or "")
            if header[2] is None:
                # The deprecated form [section.subsection]
                section, _, subsection = section.partition(".")
            # A setting may follow on the line of its section.
            rest = rest[header.end() :].strip()
        setting = _SETTING.match(rest)
        if setting:
            yield section, subsection, setting[1].lower(), _parse_value(setting[2])


def _parse_value(text: str | None) -> str:
    if text is None:
        # A key without "=" is true.
        return "true"
    parts = []
    for quoted, escaped, comment, plain in _VALUE_PART.findall(text):
        if comment:
            break
        parts.append(re.sub(r"\\(.)", r"\1", quoted) or escaped or plain)
    return "".join(parts).strip()


def _strip_credentials(url: str) -> str | None:
    """Return a repository address without user information and query; None when it has control characters."""
    if not url.isprintable():
        return None
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    scp = _SCP_ADDRESS.fullmatch(url)
    if scp is None:
        return url
    user, host, path = scp.groups()
    # git@ is the same for everybody and needed to clone; any other user may be a secret.
    prefix = "git@" if user == "git" else ""
    return f"{prefix}{host}:{path}"
