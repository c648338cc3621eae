from __future__ import annotations

import subprocess
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution
from pathlib import Path

import pytest

import comfywatchman
from comfywatchman.app.build_info import find_commit, read_installed_commit
from tests.hosts import CHECKOUT
from tests.model_files import put


def install(folder: Path, content: bytes | None) -> Distribution:
    put(folder / "METADATA", b"Name: comfywatchman\nVersion: 1\n")
    if content is not None:
        put(folder / "direct_url.json", content)
    return PathDistribution(folder)


@pytest.mark.parametrize(
    ("content", "commit"),
    [
        (b'{"vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}, "url": "x"}', "0123456789"),
        (b'{"dir_info": {}, "url": "file:///x"}', ""),
        (b"{broken", ""),
        (b"[]", ""),
        (None, ""),
    ],
)
def test_installed_package_names_its_commit(tmp_path: Path, content: bytes | None, commit: str) -> None:
    assert read_installed_commit(install(tmp_path / "x.dist-info", content)) == commit


def test_checkout_names_its_commit() -> None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, check=True, text=True)
    assert done.stdout.startswith(find_commit())
    assert len(find_commit()) == 10


def test_copy_without_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfywatchman, "__file__", str(tmp_path / "comfywatchman/__init__.py"))
    monkeypatch.setattr("comfywatchman.app.build_info.distribution", lambda _name: install(tmp_path / "y", b"{}"))
    assert find_commit() == ""


def test_program_that_is_not_installed_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(comfywatchman, "__file__", str(tmp_path / "comfywatchman/__init__.py"))
    monkeypatch.setattr("comfywatchman.app.build_info.distribution", fail)
    assert find_commit() == ""
