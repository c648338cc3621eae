from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.events import PreviewImage
from comfywatchman.jobs.execution import preview_file
from comfywatchman.jobs.execution.preview_file import PreviewWriter, find_preview
from tests.jobs.execution.sites import open_site

FIRST = PreviewImage("image/jpeg", b"first")


def test_newest_preview_is_found_until_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_file, "_PAUSE_SECONDS", 0.0)
    writer = PreviewWriter(tmp_path / "previews")
    writer.write(7, FIRST)
    found = find_preview(tmp_path / "previews", 7)
    assert found is not None
    assert (found.path.read_bytes(), found.media_type) == (b"first", "image/jpeg")
    os.utime(found.path, ns=(1, 1))
    writer.write(7, PreviewImage("image/png", b"second"))
    newer = find_preview(tmp_path / "previews", 7)
    assert newer is not None
    assert (newer.path.read_bytes(), newer.media_type) == (b"second", "image/png")
    assert newer.version > 1
    assert find_preview(tmp_path / "previews", 8) is None
    writer.delete(7)
    assert list((tmp_path / "previews").iterdir()) == []


def test_previews_are_written_once_and_not_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_file, "_PAUSE_SECONDS", 1e9)
    writer = PreviewWriter(tmp_path)
    writer.write(7, FIRST)
    writer.write(7, PreviewImage("image/jpeg", b"second"))
    assert (tmp_path / "7.jpg").read_bytes() == b"first"
    # The next job does not wait for the pause of the one before.
    writer.delete(7)
    writer.write(8, FIRST)
    assert (tmp_path / "8.jpg").exists()


@pytest.mark.parametrize("image", [None, PreviewImage("image/svg+xml", b"<svg/>"), PreviewImage("", b"x")])
def test_only_pictures_are_written(tmp_path: Path, image: PreviewImage | None) -> None:
    PreviewWriter(tmp_path).write(7, image)
    assert list(tmp_path.iterdir()) == []


def test_all_previews_are_deleted_and_other_files_kept(tmp_path: Path) -> None:
    for name in ("7.jpg", "8.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "9.jpg").mkdir()
    PreviewWriter(tmp_path).delete_all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["9.jpg", "notes.txt"]


def test_without_folder_nothing_is_kept() -> None:
    writer = PreviewWriter(None)
    writer.write(7, FIRST)
    writer.delete(7)
    writer.delete_all()
    assert find_preview(None, 7) is None


def test_preview_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    writer = PreviewWriter(tmp_path / "file")
    writer.write(7, FIRST)
    writer.delete(7)
    writer.delete_all()
    assert find_preview(tmp_path / "file", 7) is None


@pytest.mark.slow
def test_worker_deletes_the_previews_that_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "previews"
    folder.mkdir()
    (folder / "7.jpg").write_bytes(b"picture")
    with open_site(tmp_path / "site") as site, site.work(previews=folder) as worker:
        worker.settle()
    assert list(folder.iterdir()) == []
