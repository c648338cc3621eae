from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.sources.download.partial_file import (
    ResumeNote,
    StreamingHash,
    build_partial_name,
    delete_partial,
    hash_descriptor,
    open_partial,
)
from tests.sources.download.support import sha256

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_partial_name_is_hidden_and_depends_on_the_origin() -> None:
    first = build_partial_name("a.safetensors", url="https://a/x", sha256=None)
    assert first.startswith(".a.safetensors.")
    assert first.endswith(".part")
    assert first != build_partial_name("a.safetensors", url="https://b/x", sha256=None)


def test_urls_of_one_hash_share_the_partial_name() -> None:
    first = build_partial_name("a", url="https://a/x", sha256="1" * 64)
    assert first == build_partial_name("a", url="https://b/x", sha256="1" * 64)


def test_partial_name_of_a_long_name_is_a_valid_file_name() -> None:
    assert len(build_partial_name("ä" * 127, url="u", sha256=None).encode()) <= 255


@pytest.mark.parametrize("count", [1, 3, 40])
def test_streaming_hash_equals_the_hash_of_the_whole(count: int) -> None:
    digest = StreamingHash()
    blocks = [bytes([number]) * MIB for number in range(count)]
    for block in blocks:
        digest.update(block)
    assert digest.hexdigest() == sha256(b"".join(blocks))
    digest.close()


def test_descriptor_is_hashed_from_its_position(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    os.lseek(descriptor, 4, os.SEEK_SET)
    assert hash_descriptor(descriptor, lambda: True) == sha256(b"456789")
    os.close(descriptor)


def test_existing_bytes_and_new_ones_are_hashed_together(folder: int, tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(b"first ")
    with open_partial(folder, ".a.part") as part:
        assert part.hash_existing(lambda: True)
        part.append(b"second")
        assert (part.size, part.sha256()) == (12, sha256(b"first second"))


def test_note_survives_closing(folder: int) -> None:
    note = ResumeNote(validator='"v1"', commit="c", boot_id="b")
    with open_partial(folder, ".a.part") as part:
        part.append(b"x")
        part.write_note(note)
    with open_partial(folder, ".a.part") as part:
        assert part.read_note() == note


def test_clearing_removes_bytes_hash_and_note(folder: int, tmp_path: Path) -> None:
    with open_partial(folder, ".a.part") as part:
        part.append(b"x")
        part.write_note(ResumeNote(boot_id="b"))
        part.clear()
        assert (part.size, part.sha256(), part.read_note()) == (0, sha256(b""), ResumeNote())
    assert names(tmp_path) == []


def test_publishing_leaves_only_the_final_name(folder: int, tmp_path: Path) -> None:
    with open_partial(folder, ".a.part") as part:
        part.append(b"x")
        part.write_note(ResumeNote())
        part.publish("a")
    assert names(tmp_path) == ["a"]


def test_publishing_never_replaces(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with open_partial(folder, ".a.part") as part:
        part.append(b"x")
        with pytest.raises(FileExistsError):
            part.publish("a")
    assert names(tmp_path) == [".a.part", "a"]


def test_deleting_removes_a_note_without_its_file(folder: int, tmp_path: Path) -> None:
    (tmp_path / ".a.part.note").write_bytes(b"{}")
    delete_partial(folder, ".a.part")
    assert names(tmp_path) == []


def test_deleting_leaves_a_file_that_is_being_written(folder: int, tmp_path: Path) -> None:
    with open_partial(folder, ".a.part") as part:
        part.append(b"x")
        delete_partial(folder, ".a.part")
        assert names(tmp_path) == [".a.part"]
