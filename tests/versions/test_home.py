from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions import home as home_module
from comfywatchman.versions.home import (
    HomeMarker,
    VersionHome,
    make_home,
    read_home_marker,
    write_home_config,
    write_home_marker,
)
from tests.versions.hosts import git


def test_folders_and_configuration_are_made(tmp_path: Path) -> None:
    home = VersionHome(tmp_path / "new" / "home")
    make_home(home)
    names = {path.name for path in home.root.iterdir()}
    assert names == {"lockfiles", "models", "versions", "workflows", ".gitignore"}
    write_home_config(home)
    assert "ComfyUI" in (home.root / "config.toml").read_text()


def test_git_keeps_locks_and_workflows_but_no_models(tmp_path: Path) -> None:
    home = VersionHome(tmp_path)
    make_home(home)
    write_home_config(home)
    git(tmp_path, "init", "-q")
    for name in ("lockfiles/a.json", "workflows/a.json", "models/loras/a.safetensors", "versions/a/b", ".cache/uv/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    git(tmp_path, "add", ".")
    assert git(tmp_path, "ls-files").split() == [".gitignore", "config.toml", "lockfiles/a.json", "workflows/a.json"]


def test_lines_of_the_user_stay_and_none_is_added_twice(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"mine \xff\n/models/")
    (tmp_path / "config.toml").write_text("# mine\n")
    make_home(VersionHome(tmp_path))
    text = (tmp_path / ".gitignore").read_bytes()
    make_home(VersionHome(tmp_path))
    write_home_config(VersionHome(tmp_path))
    assert (tmp_path / ".gitignore").read_bytes() == text
    assert text.startswith(b"mine \xff\n/models/\n/.cache/\n")
    assert text.count(b"/models/") == 1
    assert (tmp_path / "config.toml").read_text() == "# mine\n"


def test_folder_where_programs_do_not_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise Failure("child-failed", "Permission denied")

    monkeypatch.setattr(home_module, "run_with_timeout", refuse)
    with pytest.raises(Failure, match="programs in it cannot be run") as caught:
        make_home(VersionHome(tmp_path))
    assert caught.value.code == "version-home-unusable"
    assert list(tmp_path.iterdir()) == []


def test_folder_without_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(Failure) as caught:
        make_home(VersionHome(tmp_path))
    assert caught.value.code == "version-home-unusable"


def test_marker_survives_and_a_damaged_one_is_empty(tmp_path: Path) -> None:
    home = VersionHome(tmp_path)
    assert read_home_marker(home) == HomeMarker()
    marker = HomeMarker(repo="r", commit="c", is_started=True)
    write_home_marker(home, marker)
    assert read_home_marker(home) == marker
    home.marker.write_text("{")
    assert read_home_marker(home) == HomeMarker()
