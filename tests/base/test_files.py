"""Files that are whole or absent, held against kill -9, a full disk and hostile names."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import (
    add_missing_lines,
    delete_temporary_files,
    is_folder,
    printable_path,
    read_regular,
    to_json,
    to_nfc,
    write_atomic,
    write_if_changed,
)
from tests.children import KILLED, in_child

WRITE = """
import sys
from pathlib import Path
from typing import Literal
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
try:
    write_atomic(Path(sys.argv[1]), b"new")
except Failure as failure:
    print(failure.code, failure.message)
"""


def test_writer_killed_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomic(target, b"old")

    assert in_child(WRITE, target, failpoints="files.before_rename=kill").returncode == KILLED

    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.glob(".state.json.*.tmp"))) == 1


def test_writer_killed_after_the_rename_leaves_the_new_file(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomic(target, b"old")

    assert in_child(WRITE, target, failpoints="files.after_rename=kill").returncode == KILLED

    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_full_disk_is_a_failure_and_keeps_the_old_file(tmp_path: Path, error: str) -> None:
    target = tmp_path / "state.json"
    write_atomic(target, b"old")

    ended = in_child(WRITE, target, failpoints=f"files.before_rename=raise:{error}")

    assert ended.stdout.startswith("state-unwritable")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state.json"]


def test_unfinished_file_of_a_killed_writer_is_deleted(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    in_child(WRITE, target, failpoints="files.before_rename=kill")
    (tmp_path / "kept.tmp").write_bytes(b"not ours")

    assert delete_temporary_files(tmp_path) == 1
    assert os.listdir(tmp_path) == ["kept.tmp"]


def test_unfinished_file_of_a_running_writer_stays(tmp_path: Path) -> None:
    unfinished = tmp_path / ".state.json.abc.tmp"
    with unfinished.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert delete_temporary_files(tmp_path) == 0
    assert unfinished.exists()


def test_deleting_unfinished_files_skips_fifos_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / ".a.tmp").symlink_to(outside)
    os.mkfifo(folder / ".b.tmp")

    delete_temporary_files(folder)

    assert outside.exists()


def test_missing_folder_has_no_unfinished_files(tmp_path: Path) -> None:
    assert delete_temporary_files(tmp_path / "absent") == 0


@pytest.mark.slow
def test_concurrent_writers_and_cleanups_never_fail(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from typing import Literal
from comfywatchman.base.files import write_atomic, delete_temporary_files
for number in range(60):
    write_atomic(Path(sys.argv[1]) / "state.json", b"%d" % number)
    delete_temporary_files(Path(sys.argv[1]))
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]

    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert (tmp_path / "state.json").read_bytes() == b"59"


def test_missing_folders_are_created(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "state.json"
    write_atomic(target, b"new", mode=0o600)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_folder_that_cannot_be_created_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failure) as caught:
        write_atomic(tmp_path / "file" / "state.json", b"new")
    assert caught.value.code == "state-unwritable"


def test_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    assert write_if_changed(target, b"one")
    before = target.stat().st_ino
    assert not write_if_changed(target, b"one")
    assert target.stat().st_ino == before
    assert write_if_changed(target, b"two")
    assert target.read_bytes() == b"two"


@pytest.mark.slow
def test_fifo_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Failure) as caught:
        read_regular(tmp_path / "pipe", max_bytes=10)
    assert caught.value.code == "file-not-regular"


def test_device_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(Failure) as caught:
        read_regular(tmp_path / "zero", max_bytes=10)
    assert caught.value.code == "file-not-regular"


@pytest.mark.parametrize("name", ["absent", "nul\0name"])
def test_invalid_path_is_unreadable(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure) as caught:
        read_regular(tmp_path / name, max_bytes=10)
    assert caught.value.code == "file-unreadable"


def test_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(Failure) as caught:
        read_regular(tmp_path / "loop", max_bytes=10)
    assert caught.value.code == "file-unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read files of mode 000, so there is nothing to be refused")
def test_forbidden_file_is_unreadable(tmp_path: Path) -> None:
    forbidden = tmp_path / "forbidden"
    forbidden.write_bytes(b"x")
    forbidden.chmod(0)
    with pytest.raises(Failure) as caught:
        read_regular(forbidden, max_bytes=10)
    assert caught.value.code == "file-unreadable"


def test_only_files_up_to_the_limit_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_regular(path, max_bytes=10) == b"x" * 10
    with pytest.raises(Failure) as caught:
        read_regular(path, max_bytes=9)
    assert caught.value.code == "file-too-large"


def test_endless_file_is_read_up_to_the_limit() -> None:
    with pytest.raises(Failure) as caught:
        read_regular(Path("/proc/self/environ"), max_bytes=3)
    assert caught.value.code == "file-too-large"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain name.json", "plain name.json"),
        (b"new\nline", r"new\nline"),
        (b"esc\x1b[2J", r"esc\x1b[2J"),
        (b"back\\nslash", r"back\\nslash"),
        (b"\xff\xfe.json", r"\xff\xfe.json"),
        ("\u202egnp.json".encode(), r"\u202egnp.json"),
        ("\u00a0\u0085".encode(), r"\u00a0\u0085"),
        (b"\x85", r"\x85"),
        ("ÿ 模型 🎨".encode(), "ÿ 模型 🎨"),
        ("\U000e0041".encode(), r"\U000e0041"),
    ],
)
def test_printable_path_has_no_invisible_characters(raw: bytes, shown: str) -> None:
    assert printable_path(Path(os.fsdecode(raw))) == shown


@given(st.binary(max_size=12), st.binary(max_size=12))
@pytest.mark.slow
def test_different_paths_have_different_text(one: bytes, other: bytes) -> None:
    assert printable_path(os.fsdecode(one)).isprintable()
    assert (printable_path(os.fsdecode(one)) == printable_path(os.fsdecode(other))) == (one == other)


def test_lone_surrogates_become_escapes_in_json() -> None:
    content = to_json({"b": ["\ud800", 1, None], "a\udcff": {"x": (True, "ok")}})
    assert orjson.loads(content) == {"a\\udcff": {"x": [True, "ok"]}, "b": ["\\ud800", 1, None]}
    assert content.index(b"a\\") < content.index(b'"b"')
    assert content.endswith(b"}\n")


def test_decomposed_name_becomes_composed() -> None:
    assert to_nfc("e\u0301.safetensors") == "\u00e9.safetensors"
    assert to_nfc("plain") == "plain"


def test_path_that_cannot_be_examined_is_not_a_folder(tmp_path: Path) -> None:
    assert is_folder(tmp_path)
    assert not is_folder(tmp_path / "missing")
    assert not is_folder(tmp_path / ("x" * 5000))


def test_folder_in_the_place_of_a_file_has_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(Failure) as caught:
        write_atomic(tmp_path / "state.json", b"{}")
    assert "A folder is in the place" in (caught.value.hint or "")


def test_too_many_open_files_have_their_own_words(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(Failure) as read:
            read_regular(path, max_bytes=10)
        with pytest.raises(Failure) as written:
            write_atomic(path, b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for caught in (read, written):
        assert "too many files open" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"/a\n/b\n"),
        (b"", b"/a\n/b\n"),
        (b"mine \xff", b"mine \xff\n/a\n/b\n"),
        (b"/b\r\nmine", b"/b\r\nmine\n/a\n"),
        (b"/b\n/a", b"/b\n/a"),
    ],
)
def test_missing_lines_are_added_once(tmp_path: Path, before: bytes | None, after: bytes) -> None:
    path = tmp_path / "info" / "exclude"
    if before is not None:
        path.parent.mkdir()
        path.write_bytes(before)
    for _ in range(2):
        add_missing_lines(path, ("/a", "/b"), max_bytes=100)
        assert path.read_bytes() == after
