"""Finding workflow files, and telling deleted ones from unavailable ones."""

from __future__ import annotations

import os
from pathlib import Path

from comfywatchman.readiness.workflows.discovery import (
    WatchedRoot,
    WorkflowListing,
    find_default_roots,
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
    assert sorted(os.path.basename(path) for path, _ in listing.problems) == ["self", "up"]


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


def test_links_that_lead_in_a_circle_are_problems(tmp_path: Path) -> None:
    for name in ("circle", "circle.json"):
        (tmp_path / name).symlink_to(name)
    os.mkfifo(tmp_path / "pipe.json")
    listing = list_workflows([WatchedRoot(tmp_path, "x")], suffixes=frozenset({".json"}))
    assert {Path(path).name: reason for path, reason in listing.problems} == {
        "circle": "link cannot be followed: Too many levels of symbolic links",
        "circle.json": "file cannot be read: Too many levels of symbolic links",
        "pipe.json": "not a regular file; not read",
    }
    assert (listing.files, listing.gaps) == ((), ())
