"""Finding workflow files, and telling deleted ones from unavailable ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.readiness.workflows.discovery import (
    WatchedRoot,
    WorkflowListing,
    find_default_roots,
    is_gone,
    list_workflows,
)

JSON = frozenset({".json"})


def list_files(*roots: Path, suffixes: frozenset[str] = JSON) -> WorkflowListing:
    return list_workflows([WatchedRoot(path, path.name) for path in roots], suffixes=suffixes)


def names(listing: WorkflowListing, folder: Path) -> list[str]:
    return [os.path.relpath(file.path, folder) for file in listing.files]


def write_file(path: Path, text: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_are_found_in_all_folders_in_path_order(tmp_path: Path) -> None:
    for name in ("b.json", "a/z.JSON", "a/deep/er/x.json", "note.txt", ".hidden.json", ".git/x.json", "json"):
        write_file(tmp_path / name)
    listing = list_files(tmp_path)
    assert names(listing, tmp_path) == ["a/deep/er/x.json", "a/z.JSON", "b.json"]
    assert listing.problems == ()


def test_signature_changes_when_the_file_is_written(tmp_path: Path) -> None:
    path = write_file(tmp_path / "w.json", "12345")
    status = path.stat()
    (file,) = list_files(tmp_path).files
    assert file.signature == (status.st_dev, status.st_ino, 5, status.st_mtime_ns)
    assert file.source == tmp_path.name


def test_a_file_under_two_roots_belongs_to_the_first(tmp_path: Path) -> None:
    write_file(tmp_path / "inner" / "w.json")
    (file,) = list_files(tmp_path / "inner", tmp_path).files
    assert file.source == "inner"


def test_a_root_may_be_a_single_file_of_any_ending(tmp_path: Path) -> None:
    path = write_file(tmp_path / "w.txt")
    assert names(list_files(path), tmp_path) == ["w.txt"]


def test_missing_root_is_a_problem(tmp_path: Path) -> None:
    write_file(tmp_path / "w.json")
    listing = list_files(tmp_path / "absent", tmp_path)
    assert len(listing.files) == 1
    assert listing.problems == ((str(tmp_path / "absent"), "workflow root cannot be read: No such file or directory"),)
    assert list_files(Path("nul\0")).problems


def test_fifo_broken_link_and_device_are_problems(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "nowhere.json").symlink_to("absent")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    listing = list_files(tmp_path)
    assert listing.files == ()
    assert {(os.path.basename(path), reason) for path, reason in listing.problems} == {
        ("pipe.json", "not a regular file; not read"),
        ("zero.json", "not a regular file; not read"),
        ("nowhere.json", "file cannot be read: No such file or directory"),
    }


def test_a_folder_that_links_to_one_above_is_entered_once(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "w.json")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    listing = list_files(tmp_path)
    assert names(listing, tmp_path) == ["a/w.json"]
    assert [os.path.basename(path) for path, _ in listing.problems] == ["up"]


def test_a_linked_folder_is_entered(tmp_path: Path) -> None:
    write_file(tmp_path / "elsewhere" / "w.json")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(list_files(tmp_path / "root"), tmp_path) == ["root/link/w.json"]


def test_name_outside_utf8_is_listed_and_shown_escaped(tmp_path: Path) -> None:
    write_file(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")))
    os.mkfifo(os.fsencode(tmp_path) + b"/\xfe\n.json")
    listing = list_files(tmp_path)
    assert os.fsencode(listing.files[0].path).endswith(b"/\xff.json")
    assert listing.problems[0][0].endswith(r"/\xfe\n.json")


def test_folder_with_too_long_a_path_is_a_problem(tmp_path: Path) -> None:
    write_file(tmp_path / "a.json")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        subfolder = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = subfolder
    os.close(descriptor)
    listing = list_files(tmp_path)
    assert names(listing, tmp_path) == ["a.json"]
    assert [reason for _path, reason in listing.problems] == ["folder cannot be read: File name too long"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list folders of mode 000, so there is nothing to be refused")
def test_a_forbidden_folder_is_a_problem_and_its_files_are_not_gone(tmp_path: Path) -> None:
    path = write_file(tmp_path / "closed" / "w.json")
    path.parent.chmod(0)
    try:
        assert list_files(tmp_path).problems
        assert not is_gone(str(path), [WatchedRoot(tmp_path, "x")])
    finally:
        path.parent.chmod(0o755)


def test_user_workflow_folders_are_the_default_roots(tmp_path: Path) -> None:
    for name in ("default/workflows/", "ann/workflows/", "bob/"):
        (tmp_path / "user" / name).mkdir(parents=True)
    write_file(tmp_path / "user" / "file")
    roots = [(root.path, root.label) for root in find_default_roots(tmp_path)]
    assert roots == [
        (tmp_path / "user" / "ann" / "workflows", "comfyui:ann"),
        (tmp_path / "user" / "default" / "workflows", "comfyui"),
    ]
    assert list(find_default_roots(tmp_path / "absent")) == []


def test_a_deleted_file_or_folder_is_gone(tmp_path: Path) -> None:
    write_file(tmp_path / "kept.json")
    roots = [WatchedRoot(tmp_path, "x")]
    assert is_gone(str(tmp_path / "w.json"), roots)
    assert is_gone(str(tmp_path / "deleted" / "deeper" / "w.json"), roots)
    assert is_gone(str(tmp_path / "kept.json" / "w.json"), roots)


def test_a_file_of_a_missing_root_is_not_gone(tmp_path: Path) -> None:
    roots = [WatchedRoot(tmp_path / "disk", "x")]
    assert not is_gone(str(tmp_path / "disk" / "w.json"), roots)
    assert not is_gone(str(tmp_path / "disk" / "a" / "w.json"), roots)


def test_file_behind_a_broken_link_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("unmounted")
    (tmp_path / "w.json").symlink_to("unmounted.json")
    (tmp_path / "loop.json").symlink_to("loop.json")
    roots = [WatchedRoot(tmp_path, "x")]
    assert not is_gone(str(tmp_path / "link" / "w.json"), roots)
    assert not is_gone(str(tmp_path / "w.json"), roots)
    assert not is_gone(str(tmp_path / "loop.json"), roots)


def test_an_empty_folder_of_another_device_than_before_is_an_unmounted_disk(tmp_path: Path) -> None:
    roots = [WatchedRoot(tmp_path, "x")]
    here = tmp_path.stat().st_dev
    assert not is_gone(str(tmp_path / "w.json"), roots, device=here + 1)
    assert is_gone(str(tmp_path / "w.json"), roots, device=here)
    write_file(tmp_path / "other.txt")
    assert is_gone(str(tmp_path / "w.json"), roots, device=here + 1)


def test_files_of_an_emptied_mounted_disk_are_gone() -> None:
    mounted = next((path for path in (Path("/dev/mqueue"), Path("/dev/shm")) if is_empty_mount(path)), None)  # noqa: S108
    if mounted is None:
        pytest.skip("this machine has no empty mounted folder to look at")
    assert is_gone(str(mounted / "w.json"), [WatchedRoot(mounted, "x")], device=-1)


def is_empty_mount(path: Path) -> bool:
    return path.is_mount() and not os.listdir(path)


def test_single_file_root_is_gone_when_its_folder_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    assert is_gone(str(path), [WatchedRoot(path, "x")])
    far = tmp_path / "unmounted" / "w.json"
    assert not is_gone(str(far), [WatchedRoot(far, "x")])


def test_file_under_no_root_is_gone(tmp_path: Path) -> None:
    assert is_gone(str(write_file(tmp_path / "w.json")), [WatchedRoot(tmp_path / "other", "x")])
    assert is_gone("/anywhere.json", [])


def test_existing_but_unlisted_path_is_gone(tmp_path: Path) -> None:
    write_file(tmp_path / "picture.png")
    (tmp_path / "w.json").mkdir()
    for name in ("picture.png", "w.json"):
        assert is_gone(str(tmp_path / name), [WatchedRoot(tmp_path, "x")])
