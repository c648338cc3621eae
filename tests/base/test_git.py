from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from comfywatchman.base.git import (
    WorkingTree,
    is_dirty,
    list_tracked_files,
    read_head,
    read_origin,
    read_working_tree,
)

QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
AUTHOR = ("-c", "user.name=A", "-c", "user.email=a@example.org")
ALLOW_LOCAL = ("-c", "protocol.file.allow=always")


def git(folder: Path, *arguments: str) -> str:
    argv = ["git", *AUTHOR, *ALLOW_LOCAL, *arguments]
    return subprocess.run(argv, cwd=folder, env=QUIET, check=True, capture_output=True, text=True).stdout.strip()


def working_copy(folder: Path, *options: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", *options)
    (folder / "nodes.py").write_text("NODES = 1\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "kept.pyc").write_text("1")
    git(folder, "add", "-f", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def dirty(folder: Path) -> bool | None:
    return is_dirty(folder, timeout_seconds=100)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return working_copy(tmp_path / "pack")


def test_commit_is_read_from_a_loose_reference(pack: Path) -> None:
    assert read_head(pack) == git(pack, "rev-parse", "HEAD")


def test_commit_is_read_from_packed_references(pack: Path) -> None:
    git(pack, "tag", "-a", "v1", "-m", "v1")
    git(pack, "pack-refs", "--all")
    assert not (pack / ".git/refs/heads/main").exists()
    assert read_head(pack) == git(pack, "rev-parse", "HEAD")


@pytest.mark.slow
def test_detached_head_is_read(pack: Path) -> None:
    git(pack, "checkout", "-q", "--detach")
    assert read_head(pack) == git(pack, "rev-parse", "HEAD")


@pytest.mark.slow
def test_worktree_has_its_own_head_and_a_shared_origin(pack: Path, tmp_path: Path) -> None:
    git(pack, "remote", "add", "origin", "https://example.org/a/b.git")
    git(pack, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side/nodes.py").write_text("NODES = 2\n")
    git(tmp_path / "side", "commit", "-q", "-am", "second")
    assert read_head(tmp_path / "side") == git(tmp_path / "side", "rev-parse", "HEAD")
    assert read_head(tmp_path / "side") != read_head(pack)
    assert read_origin(tmp_path / "side") == "https://example.org/a/b.git"
    assert dirty(tmp_path / "side") is False
    (tmp_path / "side/nodes.py").write_text("NODES = 3\n")
    assert dirty(tmp_path / "side") is True


@pytest.mark.slow
def test_submodule_is_read_through_its_git_file(pack: Path, tmp_path: Path) -> None:
    outer = working_copy(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", str(pack), "inner")
    assert (outer / "inner/.git").is_file()
    assert read_head(outer / "inner") == read_head(pack)
    assert read_origin(outer / "inner") == str(pack)
    assert dirty(outer / "inner") is False


def test_sha256_repository_is_read(tmp_path: Path) -> None:
    pack = working_copy(tmp_path / "pack", "--object-format=sha256")
    assert read_head(pack) == git(pack, "rev-parse", "HEAD")
    assert dirty(pack) is False


@pytest.mark.parametrize(
    "head",
    [
        "",
        "ref: refs/heads/main",
        "ref: ../../secret",
        "ref: refs/../../secret",
        "ref: refs/heads/loop",
        "0" * 39,
        "\xff",
    ],
)
def test_broken_head_gives_no_commit(pack: Path, head: str) -> None:
    (pack / "secret").write_text("0" * 40)
    (pack / ".git/secret").write_text("0" * 40)
    (pack / ".git/refs/heads/main").unlink()
    (pack / ".git/refs/heads/loop").write_text("ref: refs/heads/loop")
    (pack / ".git/HEAD").write_text(head)
    assert read_head(pack) is None
    assert dirty(pack) is None


def test_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no git")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/.git").write_text("gitdir: \0")
    os.mkfifo(tmp_path / "pipe")
    for folder in (tmp_path, tmp_path / "file", tmp_path / "absent", tmp_path / "strange", tmp_path / "pipe"):
        assert read_head(folder) is None
        assert read_origin(folder) is None
        assert dirty(folder) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
        ("https://user:s3cret@github.com/a/b", "https://github.com/a/b"),
        ("https://s3cret@github.com:8443/a/b?key=s3cret#s3cret", "https://github.com:8443/a/b"),
        ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b"),
        ("ssh://me:secret@github.com/a/b", "ssh://github.com/a/b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("s3cret@github.com:a/b.git", "github.com:a/b.git"),
        ("github.com:a/b.git", "github.com:a/b.git"),
        ("/srv/git/b.git", "/srv/git/b.git"),
        ("https://[broken/a", None),
        ("https://evil/\x1b[2J", None),
        ("", None),
    ],
)
@pytest.mark.slow
def test_origin_has_no_credentials(pack: Path, url: str, shown: str | None) -> None:
    (pack / ".git/config").write_text(f'[remote "origin"]\n\turl = "{url}"\n')
    assert read_origin(pack) == shown


@pytest.mark.parametrize(
    "text",
    [
        '[REMOTE "origin"]\n\tURL=https://h/a ; a remark',
        "[remote.origin]\nurl = https://h/a # a remark",
        '[remote "other"]\nurl = https://h/b\n[remote "origin"] url = "https://h/"a\nurl = https://h/second',
        '[remote "or\\igin"]\n; url = no\nurl = https://\\\n  h/a\n'.replace("  h", "h"),
        '[core]\nbare\n= 1\n[[x]\n[remote "origin"]\nurl = https:\\/\\/h/a',
    ],
)
def test_git_configuration_format_is_parsed(pack: Path, text: str) -> None:
    (pack / ".git/config").write_text(text)
    assert read_origin(pack) == "https://h/a"


def test_remote_without_url_gives_none(pack: Path) -> None:
    (pack / ".git/config").write_text('[remote "origin"]\nfetch = x')
    assert read_origin(pack) is None
    (pack / ".git/config").unlink()
    assert read_origin(pack) is None


def test_only_changed_tracked_files_count(pack: Path) -> None:
    assert dirty(pack) is False
    (pack / "new.py").write_text("untracked")
    (pack / "__pycache__/kept.pyc").write_text("changed")
    os.utime(pack / "nodes.py", (1, 1))
    assert dirty(pack) is False
    (pack / "nodes.py").write_text("NODES = 2\n")
    assert dirty(pack) is True


def test_deleted_and_staged_files_are_changes(pack: Path) -> None:
    (pack / "nodes.py").unlink()
    assert dirty(pack) is True
    git(pack, "checkout", "-q", "nodes.py")
    (pack / "added.py").write_text("")
    git(pack, "add", "added.py")
    assert dirty(pack) is True


def test_is_dirty_leaves_the_working_copy_unchanged(pack: Path) -> None:
    os.utime(pack / "nodes.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in pack.rglob("*")}
    assert dirty(pack) is False
    assert {path: path.stat().st_mtime_ns for path in pack.rglob("*")} == before


def test_ignored_file_mode_is_not_a_change(pack: Path) -> None:
    (pack / "nodes.py").chmod(0o755)
    assert dirty(pack) is True
    git(pack, "config", "core.fileMode", "false")
    assert dirty(pack) is False


@pytest.mark.slow
def test_hanging_git_gives_none(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 100\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert is_dirty(pack, timeout_seconds=0.1) is None


def test_is_dirty_gives_none_when_unknown(pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "no index")
    (tmp_path / "no index/.git/index").unlink()
    assert dirty(tmp_path / "no index") is None
    (pack / ".git/index").write_bytes(b"damaged")
    assert dirty(pack) is None


def test_is_dirty_gives_none_without_git(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(pack))
    assert dirty(pack) is None


def evil_program(folder: Path, name: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\ntouch '{folder}/PWN-{name}'\ncat\n")
    program.chmod(0o755)
    return program


def traces(folder: Path) -> set[str]:
    found = {path.name for path in folder.glob("PWN-*")}
    for name in found:
        (folder / name).unlink()
    return found


@pytest.mark.slow
def test_program_configured_by_the_repository_is_not_run(pack: Path, tmp_path: Path) -> None:
    lair = tmp_path / "lair"
    lair.mkdir()
    (pack / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    git(pack, "add", ".gitattributes")
    git(pack, "commit", "-q", "-m", "attributes")
    for setting in (
        "core.fsmonitor",
        "filter.evil.clean",
        "filter.evil.process",
        "diff.external",
        "diff.evil.textconv",
        "core.pager",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "alias.status",
        "core.editor",
        "credential.helper",
        "gpg.program",
    ):
        git(pack, "config", setting, str(evil_program(lair, setting)))
    hooks = pack / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "fsmonitor-watchman"):
        shutil.copy(evil_program(lair, hook), hooks / hook)
    os.utime(pack / "nodes.py", (1, 1))
    traces(lair)

    subprocess.run(["git", "status"], cwd=pack, env=QUIET, check=False, capture_output=True, timeout=100)
    assert {"PWN-core.fsmonitor", "PWN-post-index-change"} <= traces(lair)
    git(pack, "config", "--unset", "filter.evil.process")
    os.utime(pack / "nodes.py", (2, 2))
    subprocess.run(["git", "status"], cwd=pack, env=QUIET, check=False, capture_output=True, timeout=100)
    subprocess.run(["git", "diff"], cwd=pack, env=QUIET, check=False, capture_output=True, timeout=100)
    assert "PWN-filter.evil.clean" in traces(lair)

    for moment in (3, 4):
        os.utime(pack / "nodes.py", (moment, moment))
        assert dirty(pack) is False
        assert read_head(pack) == (pack / ".git/refs/heads/main").read_text().strip()
        assert read_origin(pack) is None
    (pack / "nodes.py").write_text("NODES = 2\n")
    assert dirty(pack) is True
    assert traces(lair) == set()


@pytest.mark.slow
def test_program_configured_by_a_submodule_is_not_run(pack: Path, tmp_path: Path) -> None:
    outer = working_copy(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", str(pack), "inner")
    git(outer, "commit", "-q", "-m", "inner")
    lair = tmp_path / "lair"
    lair.mkdir()
    git(outer / "inner", "config", "core.fsmonitor", str(evil_program(lair, "fsmonitor")))
    subprocess.run(["git", "status"], cwd=outer, env=QUIET, check=True, capture_output=True, timeout=100)
    assert traces(lair) == {"PWN-fsmonitor"}
    assert dirty(outer) is False
    assert traces(lair) == set()


def test_program_named_git_in_the_working_copy_is_not_run(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(evil_program(tmp_path, "git"), pack / "git")
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path.parent)
    assert dirty(pack) is False
    assert traces(tmp_path) == set()


def tree_of(folder: Path) -> WorkingTree:
    tree = read_working_tree(folder, timeout_seconds=60)
    assert tree is not None
    return tree


@pytest.mark.slow
def test_tree_of_an_unchanged_copy_is_that_of_its_commit(pack: Path) -> None:
    tree = tree_of(pack)
    assert tree.is_clean
    assert tree.commit == git(pack, "rev-parse", "HEAD")
    assert tree.commit_tree == git(pack, "rev-parse", "HEAD^{tree}")
    assert (tree.changed_files, tree.large_files) == ((), ())


@pytest.mark.slow
def test_tree_of_a_changed_copy_is_the_one_git_would_commit(pack: Path) -> None:
    (pack / "nodes.py").write_text("NODES = 2\n")
    (pack / ":(top) *.py").write_text("new")
    (pack / ".gitignore").write_text("ignored.txt\n")
    (pack / "ignored.txt").write_text("1")
    (pack / "sub").mkdir()
    (pack / "sub" / "new.pyc").write_text("1")
    before = sorted(path.as_posix() for path in (pack / ".git").rglob("*"))
    tree = tree_of(pack)
    assert sorted(path.as_posix() for path in (pack / ".git").rglob("*")) == before
    assert tree.changed_files == (".gitignore", ":(top) *.py", "nodes.py")
    git(pack, "add", "--", ".gitignore", "./:(top) *.py", "nodes.py")
    git(pack, "commit", "-q", "-m", "second")
    assert tree.tree == git(pack, "rev-parse", "HEAD^{tree}")


@pytest.mark.slow
def test_tree_of_a_deleted_file_and_a_touched_one(pack: Path) -> None:
    os.utime(pack / "nodes.py", (1, 1))
    assert tree_of(pack).is_clean
    (pack / "nodes.py").unlink()
    assert tree_of(pack).changed_files == ("nodes.py",)


@pytest.mark.slow
def test_large_untracked_file_is_named_and_not_read(pack: Path) -> None:
    with (pack / "model.bin").open("wb") as stream:
        stream.truncate(17 << 20)
    tree = tree_of(pack)
    assert tree.is_clean
    assert tree.large_files == ("model.bin",)


@pytest.mark.slow
def test_moved_submodule_is_a_change_and_its_configuration_runs_nothing(pack: Path, tmp_path: Path) -> None:
    inner = working_copy(tmp_path / "inner")
    git(pack, "submodule", "--quiet", "add", str(inner), "inner")
    git(pack, "commit", "-q", "-m", "with a submodule")
    ran = tmp_path / "ran"
    git(pack / "inner", "config", "core.fsmonitor", f"touch {ran}; false")
    (pack / "inner" / "nodes.py").write_text("NODES = 3\n")
    assert tree_of(pack).is_clean
    git(pack / "inner", "-c", "core.fsmonitor=false", "commit", "-q", "-a", "-m", "moved")
    ran.unlink(missing_ok=True)
    assert tree_of(pack).changed_files == ("inner",)
    assert not ran.exists()


def test_folder_without_a_repository_has_no_tree(tmp_path: Path) -> None:
    assert read_working_tree(tmp_path, timeout_seconds=100) is None


@pytest.mark.slow
def test_tracked_files_below_a_folder_are_listed(pack: Path) -> None:
    (pack / "custom_nodes").mkdir()
    (pack / "custom_nodes" / "kept.py").write_text("")
    git(pack, "add", "custom_nodes")
    (pack / "custom_nodes" / "mine.py").write_text("")
    assert list_tracked_files(pack, "custom_nodes", timeout_seconds=100) == frozenset({"custom_nodes/kept.py"})
    assert list_tracked_files(pack / "custom_nodes", ".", timeout_seconds=100) is None
