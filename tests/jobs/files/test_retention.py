from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfywatchman.jobs.files.retention import DeletedOutputs, delete_old_outputs
from comfywatchman.jobs.records import MEDIA_OF_TYPE

NOW = 4_000_000_000.0
"""Later than the change time of any file of the tests, which cannot be set back."""

DAY = 86400.0
NAME = "T2I_20260131093000_1_fox"


def age(path: Path, days: float) -> None:
    os.utime(path, (NOW - days * DAY,) * 2)


def publish(finished: Path, place: str = f"image/{NAME}", *, days: float, name: str = f"{NAME}.yaml") -> Path:
    folder = finished / place
    folder.mkdir(parents=True)
    (folder / "fox.png").write_bytes(b"x")
    (folder / "result.json").write_text(json.dumps({"config_name": name}), "utf-8")
    age(folder / "result.json", days)
    age(folder, days)
    return folder


def delete(finished: Path, keep_days: float = 30) -> DeletedOutputs:
    return delete_old_outputs(finished, keep_days=keep_days, now=NOW, job_types=tuple(MEDIA_OF_TYPE))


def test_old_outputs_and_their_job_file_are_deleted(tmp_path: Path) -> None:
    old = publish(tmp_path, days=31)
    job_file = tmp_path / "image" / f"{NAME}.yaml"
    job_file.write_text("x", "utf-8")
    assert delete(tmp_path) == DeletedOutputs(folders=1)
    assert not old.exists()
    assert not job_file.exists()
    assert list((tmp_path / "image").iterdir()) == []


def test_younger_outputs_stay(tmp_path: Path) -> None:
    publish(tmp_path, days=29)
    assert delete(tmp_path) == DeletedOutputs()


def test_folder_that_was_changed_lately_stays(tmp_path: Path) -> None:
    folder = publish(tmp_path, days=31)
    age(folder, 1)
    assert delete(tmp_path) == DeletedOutputs()


def test_outputs_stay_for_ever_by_default(tmp_path: Path) -> None:
    publish(tmp_path, days=3000)
    assert delete(tmp_path, keep_days=0) == DeletedOutputs()


def test_outputs_in_subfolders_and_second_names_are_found(tmp_path: Path) -> None:
    publish(tmp_path, f"image/foxes/red/{NAME}", days=31)
    publish(tmp_path, f"image/{NAME}.2", days=31)
    assert delete(tmp_path) == DeletedOutputs(folders=2)


@pytest.mark.parametrize(
    ("place", "name"),
    [("image/holidays", f"{NAME}.yaml"), (f"image/{NAME}", "other.yaml"), (f"image/{NAME}", "T2I_x_1_fox.yaml")],
)
def test_other_folders_stay(tmp_path: Path, place: str, name: str) -> None:
    folder = publish(tmp_path, place, days=31, name=name)
    assert delete(tmp_path) == DeletedOutputs()
    assert folder.exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff"])
def test_folder_with_an_unreadable_result_stays(tmp_path: Path, content: bytes) -> None:
    folder = publish(tmp_path, days=31)
    (folder / "result.json").write_bytes(content)
    age(folder / "result.json", 31)
    assert delete(tmp_path) == DeletedOutputs()


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = publish(tmp_path / "outside", NAME, days=31)
    finished = tmp_path / "finished"
    (finished / "image").mkdir(parents=True)
    (finished / "image" / NAME).symlink_to(outside)
    inside = publish(finished, f"video/{NAME}", days=31)
    (inside / "link").symlink_to(outside)
    age(inside, 31)
    assert delete(finished) == DeletedOutputs(folders=1)
    assert (outside / "fox.png").exists()


def test_attempts_that_were_never_published_are_deleted(tmp_path: Path) -> None:
    for number, days in ((1, 31.0), (2, 1.0)):
        attempt = tmp_path / "image" / ".attempts" / f"{NAME}.{number}"
        attempt.mkdir(parents=True)
        (attempt / "part.png").write_bytes(b"x")
        age(attempt, days)
    assert delete(tmp_path) == DeletedOutputs(folders=1)
    assert [path.name for path in (tmp_path / "image" / ".attempts").iterdir()] == [f"{NAME}.2"]


def test_result_in_the_tree_itself_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"config_name": f"{NAME}.yaml"}), "utf-8")
    age(tmp_path / "result.json", 31)
    age(tmp_path, 31)
    assert delete(tmp_path) == DeletedOutputs()
    assert tmp_path.exists()


def test_folder_that_a_killed_pass_left_is_deleted(tmp_path: Path) -> None:
    left = tmp_path / "image" / f".{NAME}.deleted"
    other = tmp_path / "image" / ".mine.deleted"
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "fox.png").write_bytes(b"x")
        age(folder, 31)
    assert delete(tmp_path) == DeletedOutputs(folders=1)
    assert not left.exists()
    assert other.exists()


def test_folder_that_cannot_be_deleted_is_counted(tmp_path: Path) -> None:
    folder = publish(tmp_path, days=31)
    blocked = folder.with_name(f".{NAME}.deleted")
    blocked.mkdir()
    (blocked / "x").write_bytes(b"x")
    age(blocked, 1)
    assert delete(tmp_path) == DeletedOutputs(failed=1)
    assert folder.exists()


def test_absent_tree_has_nothing_to_delete(tmp_path: Path) -> None:
    assert delete(tmp_path / "none") == DeletedOutputs()
