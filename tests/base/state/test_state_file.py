"""State files: read when valid, set aside when damaged, left alone when a later version wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.state.state_file import (
    CorruptFile,
    describe_corrupt_file,
    read_state,
    set_aside,
    write_state,
)


class Shape(msgspec.Struct, frozen=True):
    """A state file of these tests."""

    count: int


def test_state_is_read_or_none_when_missing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_state(path, Shape) is None
    write_atomic(path, to_json(Shape(3)))
    assert read_state(path, Shape) == Shape(3)


@pytest.mark.parametrize("content", [b"", b"{", b'{"count": "three"}', b"[" * 100_000, b"\xff\xfe", b"null"])
def test_corrupt_state_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)

    read = read_state(path, Shape)

    assert isinstance(read, CorruptFile)
    assert read.moved_to == tmp_path / "state.json.damaged-1"
    assert read.moved_to.read_bytes() == content
    assert read.reason
    assert not path.exists()


class VersionedShape(msgspec.Struct, frozen=True):
    """A state file with versions, and a range that its type cannot express."""

    count: int = 0
    schema_version: Literal[1] = 1

    def check_ranges(self) -> None:
        if self.count > 9:
            raise ValueError("more than nine")


def test_value_out_of_range_is_corruption(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b'{"count": 10}')
    read = read_state(path, VersionedShape)
    assert isinstance(read, CorruptFile)
    assert describe_corrupt_file(read) == f"{path} was damaged (more than nine); it was moved to {path}.damaged-1"


def test_state_of_a_later_version_is_neither_used_nor_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b'{"count": 1, "schema_version": 2, "new": 3}')
    read = read_state(path, VersionedShape)
    assert isinstance(read, CorruptFile)
    assert (read.moved_to, read.later_version) == (None, 2)
    assert "is not changed" in describe_corrupt_file(read)
    with pytest.raises(Failure, match="a later version wrote it") as caught:
        write_state(path, VersionedShape(5))
    assert caught.value.code == "state-newer"
    assert path.read_bytes() == b'{"count": 1, "schema_version": 2, "new": 3}'


def test_state_is_written_when_its_content_changed(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert write_state(path, VersionedShape(5))
    assert not write_state(path, VersionedShape(5))
    assert write_state(path, VersionedShape(6))
    path.write_bytes(b"{")
    assert write_state(path, VersionedShape(6))
    assert read_state(path, VersionedShape) == VersionedShape(6)


def test_unreadable_state_is_set_aside(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_bytes(b"x" * 100)
    folder = tmp_path / "folder.json"
    folder.mkdir()

    for path in (large, folder):
        read = read_state(path, Shape, max_bytes=10)
        assert isinstance(read, CorruptFile)
        assert read.moved_to is not None
        assert read.moved_to.exists()
        assert not path.exists()


def test_earlier_corrupt_files_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    (tmp_path / "state.json.damaged-2").symlink_to("nowhere")
    names = []
    for content in (b"1", b"2", b"3"):
        path.write_bytes(content)
        kept = set_aside(path)
        assert kept is not None
        names.append(kept.name)
    assert names == ["state.json.damaged-1", "state.json.damaged-3", "state.json.damaged-4"]
    assert (tmp_path / "state.json.damaged-1").read_bytes() == b"1"


def test_file_that_cannot_be_renamed_stays(tmp_path: Path) -> None:
    assert set_aside(tmp_path / "absent") is None


@pytest.mark.slow
def test_file_stays_when_all_names_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"last")
    for number in range(1, 1000):
        (tmp_path / f"s.damaged-{number}").write_bytes(b"")
    assert set_aside(path) is None
    assert path.read_bytes() == b"last"
