from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.filesystem import rename_without_replacing
from comfywatchman.jobs.files import folders
from comfywatchman.jobs.files.folders import (
    ensure_directories,
    ensure_media_folders,
    list_yaml_under,
    safe_move,
    walk_files,
)
from tests.filesystems import find_other_filesystem

Renamer = Callable[..., None]


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_missing_folders_are_created(tmp_path: Path) -> None:
    paths: dict[str, str | Path] = {
        "jobs_processing": str(tmp_path / "jobs" / "processing"),
        "jobs_finished": tmp_path / "jobs" / "finished",
        "database": str(tmp_path / "database" / "jobs.db"),
    }
    ensure_directories(paths)
    assert (tmp_path / "jobs" / "processing").is_dir()
    assert (tmp_path / "jobs" / "finished").is_dir()
    assert list((tmp_path / "database").iterdir()) == []


def test_present_folders_and_their_files_stay(tmp_path: Path) -> None:
    file = write(tmp_path / "jobs" / "x.yaml")
    ensure_directories({"jobs_processing": tmp_path / "jobs"})
    ensure_directories({"jobs_processing": tmp_path / "jobs"})
    assert file.read_text("utf-8") == "x"


def test_no_paths_make_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ensure_directories({})
    assert list(tmp_path.iterdir()) == []


def test_url_of_a_database_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ensure_directories({"database": "postgresql+psycopg://db/jobs"})
    ensure_directories({"database": "jobs.db"})
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_place_of_a_folder_is_a_failure(tmp_path: Path) -> None:
    write(tmp_path / "jobs")
    with pytest.raises(Failure, match="not a folder"):
        ensure_directories({"jobs_processing": tmp_path / "jobs"})
    with pytest.raises(Failure, match="cannot be created"):
        ensure_directories({"jobs_processing": tmp_path / "jobs" / "processing"})


def test_every_root_gets_a_folder_per_kind_of_media(tmp_path: Path) -> None:
    ensure_media_folders([tmp_path / "a", tmp_path / "b"], ["image", "3d", "image"])
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")}
    assert names == {"a/image", "a/3d", "b/image", "b/3d"}


def test_only_yaml_files_are_listed(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "c.yml", "d.YAML", "e.txt", ".hidden.yaml", "f.yaml.tmp"):
        write(tmp_path / "image" / name)
    write(tmp_path / ".git" / "x.yaml")
    (tmp_path / "folder.yaml").mkdir()
    write(tmp_path / "image" / "deep" / "z.yaml")
    expected = [str(tmp_path / "image" / name) for name in ("a.yaml", "b.yaml", "deep/z.yaml")]
    assert list_yaml_under(tmp_path) == expected
    assert list_yaml_under(str(tmp_path)) == expected


def test_listing_is_limited_to_kinds_of_media(tmp_path: Path) -> None:
    for media in ("image", "video", "audio"):
        write(tmp_path / media / "x.yaml")
    assert list_yaml_under(tmp_path, media_types=["video", "audio", "none"]) == [
        str(tmp_path / "audio" / "x.yaml"),
        str(tmp_path / "video" / "x.yaml"),
    ]
    assert list_yaml_under(tmp_path, media_types=[]) == []


def test_relative_root_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.yaml")
    monkeypatch.chdir(tmp_path)
    assert list_yaml_under(".") == [str(tmp_path / "x.yaml")]


def test_absent_folder_has_no_files(tmp_path: Path) -> None:
    assert list_yaml_under(tmp_path / "none") == []


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "x.yaml")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "jobs" / "circle").symlink_to(tmp_path / "jobs")
    assert list_yaml_under(tmp_path / "jobs") == []


def test_very_deep_folders_are_not_searched(tmp_path: Path) -> None:
    write(tmp_path.joinpath(*["d"] * 16) / "x.yaml")
    write(tmp_path.joinpath(*["d"] * 17) / "y.yaml")
    assert [entry.name for entry in walk_files(str(tmp_path))] == ["x.yaml"]


def test_file_is_moved_into_a_new_folder(tmp_path: Path) -> None:
    source = write(tmp_path / "a" / "x.yaml", "job")
    safe_move(str(source), str(tmp_path / "new" / "deep" / "y.yaml"))
    assert not source.exists()
    assert (tmp_path / "new" / "deep" / "y.yaml").read_text("utf-8") == "job"


def test_file_is_moved_into_a_present_folder(tmp_path: Path) -> None:
    other = write(tmp_path / "b" / "other.yaml")
    safe_move(write(tmp_path / "a.yaml"), tmp_path / "b" / "a.yaml")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["a.yaml", "other.yaml"]
    assert other.read_text("utf-8") == "x"


@pytest.mark.parametrize("make", [lambda path: write(path, "other"), Path.mkdir, lambda p: p.symlink_to("/etc/passwd")])
def test_nothing_is_replaced(tmp_path: Path, make: Callable[[Path], object]) -> None:
    source = write(tmp_path / "a.yaml", "job")
    make(tmp_path / "b.yaml")
    with pytest.raises(Failure, match="is something else") as caught:
        safe_move(source, tmp_path / "b.yaml")
    assert caught.value.code == "jobs-target-taken"
    assert source.read_text("utf-8") == "job"


def test_interrupted_move_can_be_repeated(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.yaml", "job"), write(tmp_path / "b.yaml", "job")
    safe_move(source, target)
    assert not source.exists()
    assert target.read_text("utf-8") == "job"


def test_absent_file_is_not_moved(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safe_move(tmp_path / "none", tmp_path / "new" / "b.yaml")
    assert not (tmp_path / "new").exists()


def test_move_into_a_file_is_a_failure(tmp_path: Path) -> None:
    source = write(tmp_path / "a.yaml")
    write(tmp_path / "b")
    with pytest.raises(Failure) as caught:
        safe_move(source, tmp_path / "b" / "a.yaml")
    assert caught.value.code == "state-unwritable"
    assert source.exists()


def test_refused_rename_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x")

    monkeypatch.setattr(folders, "rename_without_replacing", refuse)
    source = write(tmp_path / "a.yaml")
    with pytest.raises(Failure, match="Permission denied"):
        safe_move(source, tmp_path / "b" / "a.yaml")
    assert source.exists()


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let renames between folders fail as between disks."""
    rename: Renamer = rename_without_replacing

    def refuse(source: str, target: str, *, folder: int, target_folder: int | None = None) -> None:
        if target_folder not in {None, folder}:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), target)
        rename(source, target, folder=folder)

    monkeypatch.setattr(folders, "rename_without_replacing", refuse)


@pytest.mark.usefixtures("other_disk")
def test_move_to_another_disk_keeps_bytes_and_time(tmp_path: Path) -> None:
    source = write(tmp_path / "a" / "x.yaml", "job")
    os.utime(source, (1000, 1000))
    source.chmod(0o640)
    safe_move(source, tmp_path / "b" / "x.yaml")
    assert not source.exists()
    assert (tmp_path / "b" / "x.yaml").read_text("utf-8") == "job"
    assert (tmp_path / "b" / "x.yaml").stat().st_mtime == 1000
    assert stat.S_IMODE((tmp_path / "b" / "x.yaml").stat().st_mode) == 0o640
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["x.yaml"]


@pytest.mark.usefixtures("other_disk")
def test_move_to_another_disk_replaces_nothing(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a" / "x.yaml", "job"), write(tmp_path / "b" / "x.yaml", "other")
    with pytest.raises(Failure, match="is something else"):
        safe_move(source, target)
    assert (source.read_text("utf-8"), target.read_text("utf-8")) == ("job", "other")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["x.yaml"]


@pytest.mark.usefixtures("other_disk")
def test_interrupted_move_to_another_disk_can_be_repeated(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a" / "x.yaml", "job"), write(tmp_path / "b" / "x.yaml", "job")
    safe_move(source, target)
    assert not source.exists()
    assert target.read_text("utf-8") == "job"


def test_move_between_real_filesystems(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=find_other_filesystem(tmp_path)) as name:
        source = write(Path(name) / "x.yaml", "job")
        safe_move(source, tmp_path / "x.yaml")
        assert not source.exists()
    assert (tmp_path / "x.yaml").read_text("utf-8") == "job"
