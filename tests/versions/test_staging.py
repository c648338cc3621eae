from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.lockfile import LockedCode, VersionLock, seal_lock
from comfywatchman.versions.place import ClonePlace, read_marker
from comfywatchman.versions.staging import mark_environment, open_staging, remove_tree, require_inside

LOCK = seal_lock(VersionLock(tag="first", comfyui=LockedCode(name="ComfyUI", source="git")))
OTHER = seal_lock(VersionLock(tag="second", comfyui=LockedCode(name="ComfyUI", source="git")))


def test_staging_folder_is_marked_and_used_again(tmp_path: Path) -> None:
    with open_staging(LOCK, tmp_path / "clone") as place:
        (place.root / "part").write_text("kept")
        mark_environment(LOCK, place)
    with open_staging(LOCK, tmp_path / "clone") as place:
        assert (place.root / "part").read_text() == "kept"
        marker = read_marker(place.root)
    assert marker is not None
    assert (marker.tag, marker.has_environment, marker.is_complete) == ("first", True, False)


def test_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    with open_staging(OTHER, tmp_path / "clone"):
        pass
    with pytest.raises(Failure, match="second") as caught, open_staging(LOCK, tmp_path / "clone"):
        pass
    assert caught.value.code == "version-target-taken"


def test_damaged_marker_is_not_taken_for_ours(tmp_path: Path) -> None:
    with open_staging(LOCK, tmp_path / "clone") as place:
        place.marker.write_text("{")
    with pytest.raises(Failure, match="not made by") as caught, open_staging(LOCK, tmp_path / "clone"):
        pass
    assert caught.value.code == "version-target-taken"


def test_link_as_staging_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "clone.partial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure) as caught, open_staging(LOCK, tmp_path / "clone"):
        pass
    assert caught.value.code == "state-unwritable"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_second_process_is_refused(tmp_path: Path) -> None:
    with (
        open_staging(LOCK, tmp_path / "clone"),
        pytest.raises(Failure) as caught,
        open_staging(LOCK, tmp_path / "clone"),
    ):
        pass
    assert caught.value.code == "version-clone-running"


def test_path_through_a_link_is_refused(tmp_path: Path) -> None:
    place = ClonePlace(tmp_path)
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "models").symlink_to(tmp_path / "elsewhere")
    require_inside(place.models, place)
    with pytest.raises(Failure, match="ComfyUI/models"):
        require_inside(place.models / "vae" / "a", place)


def test_tree_file_and_link_are_removed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").write_text("")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in ("link", "file", "tree", "nothing"):
        remove_tree(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(Failure) as caught:
        remove_tree(tmp_path / ("a" * 300))
    assert caught.value.code == "state-unwritable"
