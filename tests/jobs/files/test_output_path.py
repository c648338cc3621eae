from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.output_path import (
    find_output_obstacle,
    find_path_fault,
    normalize_output_path,
    open_output_folder,
)

FINISHED = Path("/srv/home/jobs/finished")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image/fox.png", "image/fox.png"),
        ("image/", "image"),
        ("image//foxes/./red.png", "image/foxes/red.png"),
        ("jobs/finished/image/fox.png", "image/fox.png"),
        ("/srv/home/jobs/finished/image/fox.png", "image/fox.png"),
        ("/srv/home/jobs/finished//image/fox.png", "image/fox.png"),
        ("image/Füchsin 🦊.png", "image/Füchsin 🦊.png"),
        ("fox.png", "fox.png"),
        ("image/a..b.png", "image/a..b.png"),
    ],
)
def test_place_in_the_finished_tree_is_shortened(text: str, expected: str) -> None:
    assert normalize_output_path(text, FINISHED) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("/etc/passwd", "outside of the finished folder"),
        ("/output.png", "outside of the finished folder"),
        ("/srv/home/jobs/finishedX/a.png", "outside of the finished folder"),
        ("/srv/home/jobs/finished/../x.png", "leads out"),
        ("jobs/finished/../../x.png", "leads out"),
        ("../x.png", "leads out"),
        ("image/../../x.png", "leads out"),
        ("image/..", "leads out"),
        (".", "names no folder or file"),
        ("jobs/finished/", "it is empty"),
        ("image\\..\\..\\x.png", "contains the character"),
        ("C:/x.png", "contains the character :"),
        ("image/fox?.png", "contains the character ?"),
        ("image/a\nb.png", "invisible character"),
        ("image/a\x00b.png", "invisible character"),
        ("image/a\u202eb.png", "invisible character"),
        (".attempts/x.png", "begins with ."),
        ("~root/x.png", "begins with ~"),
        ("image/ /x.png", "begins or ends with a space"),
        ("image./x.png", "ends with a dot"),
        ("image/" + "é" * 101, "longer than 200 bytes"),
        ("/".join("a" * 13), "more than 12 folders"),
        ("a" * 2001, "too long"),
    ],
)
def test_place_outside_of_the_finished_tree_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("?", r"\?")):
        normalize_output_path(text, FINISHED)


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(alphabet="a./\\~ :\n", max_size=12))
def test_accepted_places_stay_inside(text: str) -> None:
    try:
        relative = normalize_output_path(text, FINISHED)
    except ValueError:
        return
    joined = Path(os.path.normpath(FINISHED / relative))
    assert joined.is_relative_to(FINISHED)
    assert joined != FINISHED
    assert find_path_fault(relative) == ""


def test_folder_is_created_and_opened(tmp_path: Path) -> None:
    with open_output_folder(tmp_path / "finished", "image/foxes") as folder:
        os.close(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    assert (tmp_path / "finished" / "image" / "foxes" / "x.png").is_file()
    with open_output_folder(tmp_path / "finished", "") as folder:
        assert os.listdir(folder) == ["image"]


def test_finished_tree_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "finished").symlink_to(tmp_path / "big-disk")
    with open_output_folder(tmp_path / "finished", "image"):
        pass
    assert (tmp_path / "big-disk" / "image").is_dir()


@pytest.mark.parametrize("relative", ["image", "image/foxes"])
def test_link_in_the_finished_tree_is_refused(tmp_path: Path, relative: str) -> None:
    (tmp_path / "outside").mkdir()
    place = tmp_path / "finished" / relative
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "outside")
    with pytest.raises(Failure, match="is a link") as caught, open_output_folder(tmp_path / "finished", relative):
        pass
    assert caught.value.code == "jobs-output-refused"
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("relative", ["../x", "/etc", "a/../../b"])
def test_folder_outside_is_never_opened(tmp_path: Path, relative: str) -> None:
    with pytest.raises(Failure, match="is not written"), open_output_folder(tmp_path / "finished", relative):
        pass
    assert not (tmp_path / "finished").exists()


def test_file_in_the_place_of_the_tree_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "finished").write_text("x", "utf-8")
    with pytest.raises(Failure), open_output_folder(tmp_path / "finished", "image"):
        pass


def test_error_of_the_block_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_output_folder(tmp_path, "image") as folder:
        os.unlink("none", dir_fd=folder)


def test_writable_place_has_no_obstacle(tmp_path: Path) -> None:
    assert find_output_obstacle(tmp_path / "finished", "image", min_free_gb=0) is None
    assert list((tmp_path / "finished" / "image").iterdir()) == []


def test_full_disk_is_an_obstacle(tmp_path: Path) -> None:
    obstacle = find_output_obstacle(tmp_path, "image", min_free_gb=1e9)
    assert obstacle is not None
    assert "jobs.min_free_disk_gb" in obstacle


def test_link_is_an_obstacle(tmp_path: Path) -> None:
    (tmp_path / "image").symlink_to("/etc")
    assert "is a link" in (find_output_obstacle(tmp_path, "image", min_free_gb=0) or "")


def test_folder_that_takes_no_files_is_an_obstacle() -> None:
    assert "cannot be written" in (find_output_obstacle(Path("/proc/self"), "task", min_free_gb=0) or "")
