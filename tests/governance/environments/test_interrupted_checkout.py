"""A checkout that was killed in between, in a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import is_dirty, read_head
from comfywatchman.governance.environments import checkout
from comfywatchman.governance.environments.checkout import CheckoutChange
from comfywatchman.governance.store.layout import GovLayout
from tests.base.test_git import git
from tests.governance.packs import commit_files

pytestmark = pytest.mark.slow

OP_ID = "20261201T120000Z-op-0a1b2c"


@pytest.fixture
def change(tmp_path: Path) -> CheckoutChange:
    """A repository at the first of two commits, and the recorded move to the second one."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "master")
    commit_files(folder, {"main.py": "old\n", "kept.py": "kept\n", "gone.py": "gone\n"})
    (folder / "link").symlink_to("main.py")
    git(folder, "add", "link")
    git(folder, "commit", "-q", "-m", "link")
    before = git(folder, "rev-parse", "HEAD")
    (folder / "gone.py").unlink()
    (folder / "link").unlink()
    (folder / "link").symlink_to("kept.py")
    commit_files(folder, {"main.py": "new\n", "new.py": "new file\n", "later.py": "later\n"})
    after = git(folder, "rev-parse", "HEAD")
    git(folder, "checkout", "-q", "--detach", before)
    git(folder, "branch", "-q", "-f", "master", before)
    git(folder, "checkout", "-q", "master")
    change = CheckoutChange(folder=str(folder), before=before, before_branch="master", after=after)
    checkout.save(GovLayout(tmp_path / "env"), OP_ID, change)
    return change


def interrupt(change: CheckoutChange) -> Path:
    """Leave what a git leaves that was killed while it wrote files."""
    folder = Path(change.folder)
    (folder / ".git" / "index.lock").touch()
    (folder / "main.py").write_text("new\n")
    (folder / "new.py").write_text("new file\n")
    (folder / "later.py").touch()
    (folder / "gone.py").unlink()
    (folder / "link").unlink()
    (folder / "link").symlink_to("kept.py")
    return folder


def apply(tmp_path: Path) -> None:
    checkout.apply(GovLayout(tmp_path / "env"), OP_ID)


def test_killed_checkout_is_finished(change: CheckoutChange, tmp_path: Path) -> None:
    folder = interrupt(change)
    (folder / "mine.txt").write_text("mine\n")
    apply(tmp_path)
    assert read_head(folder) == change.after
    assert is_dirty(folder, timeout_seconds=100) is False
    assert (folder / "later.py").read_text() == "later\n"
    assert (folder / "mine.txt").read_text() == "mine\n"
    apply(tmp_path)


def test_files_of_the_other_commit_without_a_lock_are_accepted(change: CheckoutChange, tmp_path: Path) -> None:
    folder = interrupt(change)
    (folder / ".git" / "index.lock").unlink()
    apply(tmp_path)
    assert read_head(folder) == change.after


@pytest.mark.parametrize("name", ["main.py", "kept.py", "new.py", "link"])
def test_foreign_content_is_named_and_stays(change: CheckoutChange, tmp_path: Path, name: str) -> None:
    folder = interrupt(change)
    (folder / name).unlink()
    if name == "link":
        (folder / name).symlink_to("elsewhere")
    else:
        (folder / name).write_text("mine\n")
    with pytest.raises(Failure) as caught:
        apply(tmp_path)
    assert caught.value.code == "gov-comfyui-changed"
    assert f"lost: {name}." in caught.value.message
    assert f"git -C {folder} checkout --force --detach {change.after}" in caught.value.message
    assert (read_head(folder), (folder / ".git" / "index.lock").exists()) == (change.before, True)
    assert name == "link" or (folder / name).read_text() == "mine\n"


def test_lock_of_a_running_git_stays(change: CheckoutChange, tmp_path: Path) -> None:
    folder = interrupt(change)
    running = subprocess.Popen(
        ["git", "cat-file", "--batch"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        with pytest.raises(Failure, match=rf"git is working in .* \(process {running.pid}\)"):
            apply(tmp_path)
    finally:
        running.communicate(timeout=250)
    assert (folder / ".git" / "index.lock").exists()
    apply(tmp_path)
    assert read_head(folder) == change.after
