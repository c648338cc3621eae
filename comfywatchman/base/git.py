"""Commit, origin and modifications of a git working copy, without running programs that its repository configures.

A repository's configuration can name programs (fsmonitor, filters, hooks, diff drivers) that a plain `git status` would
start. Commit and origin are therefore read as files, and the one call of `git` works in a private git folder.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfywatchman.base.address import strip_repository_credentials
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.process import run_with_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SECTION: Final = re.compile(r'\[\s*([-.\w]+)\s*(?:"((?:[^"\\\n]|\\.)*)")?\s*\]')
_SETTING: Final = re.compile(r"([A-Za-z][-A-Za-z0-9]*)\s*(?:=\s*(.*))?$", re.DOTALL)
_VALUE_PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?|\\(.)|([#;].*)|([^"\\#;]+)', re.DOTALL)
_MAX_TEXT_BYTES: Final = 1 << 20
_MAX_REFS_BYTES: Final = 32 << 20
_MAX_INDEX_BYTES: Final = 256 << 20
_MAX_CODE_BYTES: Final = 16 << 20
_PATHS_PER_CALL: Final = 500
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
    "status",
    "--porcelain",
    "-z",
    # Running a pack creates untracked files.
    "--untracked-files=no",
    # Submodules have configurations of their own, which git would follow.
    "--ignore-submodules=all",
    "--no-renames",
)


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """The files of a git working copy as they are, compared with its commit.

    Attributes:
        commit: The commit that is checked out.
        commit_tree: The hash of the commit's tree.
        tree: The hash of the tree that the files would give, with untracked files but without ignored ones; equal to
            `commit_tree` when nothing was changed.
        changed_files: Paths that differ between the two trees, sorted; bytes that are not UTF-8 are escaped.
        large_files: Untracked files of more than 16 MiB, sorted: downloads, not code. They are in no tree.
    """

    commit: str
    commit_tree: str
    tree: str
    changed_files: tuple[str, ...]
    large_files: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether the files are those of the commit."""
        return self.tree == self.commit_tree


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
            return strip_repository_credentials(value) if value else None
    return None


def is_dirty(folder: Path, *, timeout_seconds: float) -> bool | None:
    """Return whether tracked files differ from the commit; untracked files and `__pycache__` are ignored.

    Changes in submodules are not detected.

    Returns:
        None when it is not known: no working copy, no commit, no `git`, a corrupt repository, or a timeout.
    """
    try:
        with _open_private(folder, timeout_seconds) as repository:
            status = repository.run(*_STATUS_COMMAND)
    except (Failure, OSError):
        return None
    return any(_is_relevant_change(entry) for entry in status.split(b"\0"))


def read_working_tree(folder: Path, *, timeout_seconds: float) -> WorkingTree | None:
    """Hash the files of a working copy as git would commit them; nothing is written into the repository.

    Untracked files count unless git ignores them; caches of Python never do.

    Args:
        folder: The top of the working copy. A folder inside another working copy has no tree of its own.
        timeout_seconds: The time limit of each call of git.

    Returns:
        None when it is not known: no working copy, no commit, no `git`, a corrupt repository, or a timeout.
    """
    try:
        with _open_private(folder, timeout_seconds) as repository:
            commit_tree = repository.run("rev-parse", f"{repository.commit}^{{tree}}").decode("ascii").strip()
            repository.use_own_objects()
            large_files = _stage_changes(repository, folder)
            tree = repository.run("write-tree").decode("ascii").strip()
            changes = repository.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", commit_tree, tree)
    except (Failure, OSError):
        return None
    names = sorted(name.decode("utf-8", "backslashreplace") for name in changes.split(b"\0") if name)
    return WorkingTree(repository.commit, commit_tree, tree, tuple(names), large_files)


def list_tracked_files(folder: Path, below: str, *, timeout_seconds: float) -> frozenset[str] | None:
    """Return the files below a subfolder that git tracks, relative to the working copy; None when it is not known."""
    try:
        with _open_private(folder, timeout_seconds) as repository:
            names = repository.run("ls-files", "-z", "--", below)
    except (Failure, OSError):
        return None
    return frozenset(name.decode("utf-8", "backslashreplace") for name in names.split(b"\0") if name)


def list_submodules(folder: Path, *, timeout_seconds: float) -> tuple[str, ...] | None:
    """Return the folders of a working copy's submodules, relative to it and sorted; None when it is not known."""
    try:
        with _open_private(folder, timeout_seconds) as repository:
            entries = repository.run("ls-files", "-z", "--stage").split(b"\0")
    except (Failure, OSError):
        return None
    # Each entry is mode, object and stage, a tab and the path; a submodule has the mode 160000.
    names = [entry.partition(b"\t")[2] for entry in entries if entry.startswith(b"160000 ")]
    return tuple(sorted(os.fsdecode(name) for name in names))


def _stage_changes(repository: _PrivateRepository, folder: Path) -> tuple[str, ...]:
    """Add the changed and the untracked files to the private index; return the untracked ones that are too large."""
    repository.clear_flags()
    # `dirty`: a submodule counts by its commit. Looking into it would follow its own configuration.
    changed = repository.run("diff-files", "-z", "--name-only", "--ignore-submodules=dirty")
    untracked = repository.run("ls-files", "-z", "--others", "--exclude-standard")
    staged = [name for name in changed.split(b"\0") if name]
    large_files = []
    for name in untracked.split(b"\0"):
        if name and _is_large(folder, name):
            large_files.append(name.decode("utf-8", "backslashreplace"))
        elif name:
            staged.append(name)
    if staged:
        paths = repository.folder / "staged-paths"
        paths.write_bytes(b"\0".join(staged))
        # --force: a tracked file may be ignored too, as ComfyUI's own example nodes are.
        repository.run("add", "--force", f"--pathspec-from-file={paths}", "--pathspec-file-nul")
    return tuple(sorted(large_files))


def _is_large(folder: Path, name: bytes) -> bool:
    status = os.lstat(os.path.join(os.fsencode(folder), name))
    return stat.S_ISREG(status.st_mode) and status.st_size > _MAX_CODE_BYTES


@dataclass(slots=True)
class _PrivateRepository:
    """A private git folder for the files of a working copy.

    Attributes:
        commit: The commit that is checked out in the working copy.
        folder: The private git folder.
        environment: The variables that make git use it.
        timeout_seconds: The time limit of each call.
    """

    commit: str
    folder: Path
    environment: dict[str, str]
    timeout_seconds: float

    def use_own_objects(self) -> None:
        """Write new objects into the private folder; those of the repository stay readable."""
        objects = self.folder / "objects"
        objects.mkdir()
        shared = self.environment["GIT_OBJECT_DIRECTORY"]
        # git(1): a value in double quotes may hold the separator.
        escaped = shared.replace("\\", "\\\\").replace('"', '\\"')
        self.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = f'"{escaped}"'
        self.environment["GIT_OBJECT_DIRECTORY"] = str(objects)

    def clear_flags(self) -> None:
        """Clear "assume unchanged" and "skip worktree" in the private index: they hide changes."""
        tags = self.run("ls-files", "-v", "-z").split(b"\0")
        # git-ls-files(1): lower case is "assume unchanged", S is "skip worktree".
        paths = [os.fsdecode(tag[2:]) for tag in tags if tag[:1].islower() or tag[:1] == b"S"]
        for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
            for start in range(0, len(paths), _PATHS_PER_CALL):
                self.run("update-index", flag, "--", *paths[start : start + _PATHS_PER_CALL])

    def run(self, *arguments: str) -> bytes:
        """Run git and return its output.

        Raises:
            Failure: `child-timeout`, or `child-failed` when git is missing or reports an error.
        """
        result = run_with_timeout(
            ["git", "--no-pager", *arguments],
            timeout_seconds=self.timeout_seconds,
            extra_environment=self.environment,
            # Not the working copy: a relative entry in PATH would find programs there.
            folder=self.folder,
        )
        if result.status != 0:
            message = result.errors.decode("utf-8", "replace").strip()
            raise Failure("child-failed", f"git {arguments[0]} exited with status {result.status}: {message}")
        return result.output


@contextmanager
def _open_private(folder: Path, timeout_seconds: float) -> Iterator[_PrivateRepository]:
    """Yield a private git folder for a working copy, removed afterwards.

    Raises:
        Failure: `child-failed` when the folder is no working copy or has no commit.
        OSError: The private folder cannot be written.
    """
    git_folder, common = _find_git_folders(folder)
    commit = _resolve_commit(git_folder, common)
    if commit is None:
        raise Failure("child-failed", f"{folder} is not a git working copy with a commit.")
    with tempfile.TemporaryDirectory(prefix="comfywatchman-git-") as name:
        private = Path(name)
        _prepare_git_folder(private, commit, git_folder, common)
        environment = _build_git_environment(private, folder.absolute(), common / "objects")
        yield _PrivateRepository(commit, private, environment, timeout_seconds)


def _prepare_git_folder(private: Path, commit: str, git_folder: Path, common: Path) -> None:
    """Fill a private git folder with the commit, a copy of the index, and settings that start no program."""
    config = ""
    for section, subsection, key, value in _parse_settings(_read_text(common / "config") or ""):
        safe_values = _SAFE_SETTINGS.get((section, key), frozenset())
        if not subsection and value.lower() in safe_values:
            config += f"[{section}]\n\t{key} = {value.lower()}\n"
    index = read_regular(git_folder / "index", max_bytes=_MAX_INDEX_BYTES)
    excluded = _read_text(common / "info" / "exclude") or ""
    (private / "info").mkdir()
    # Running a pack creates caches, which not every pack ignores.
    (private / "info" / "exclude").write_text(f"{excluded}\n__pycache__/\n*.pyc\n", "utf-8")
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
        # A file may be called `:(top)` or `*`.
        "GIT_LITERAL_PATHSPECS": "1",
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
