from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.duplicates import find_duplicates, find_unhashed_lookalikes
from comfywatchman.readiness.downloads.links import LinkMethod, index_by_hash, link_file
from comfywatchman.readiness.models.index import FileHashes
from comfywatchman.readiness.models.inventory import FileKey, ModelFile
from tests.filesystems import find_other_filesystem
from tests.model_files import put, safetensors
from tests.sources.download.support import check


def model_file(path: Path, folder: str = "loras", **changes: object) -> ModelFile:
    found = path.stat()
    plain = ModelFile(
        folder,
        path.name,
        str(path),
        found.st_size,
        found.st_mtime_ns,
        found.st_dev,
        found.st_ino,
        "safetensors",
        None,
        None,
    )
    return msgspec.structs.replace(plain, **changes)


def hashes(*files: ModelFile, sha256: str = "a" * 64) -> dict[FileKey, FileHashes]:
    return {file.key: FileHashes(sha256, None, "b" * 64) for file in files}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "target").mkdir()
    descriptor = os.open(tmp_path / "target", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("way", ["hard", "symlink"])
def test_a_file_gets_a_second_name(tmp_path: Path, folder: int, way: LinkMethod) -> None:
    source = put(tmp_path / "a.safetensors", safetensors())
    assert link_file(model_file(source), folder, "b.safetensors", method=way, check=check)
    linked = tmp_path / "target" / "b.safetensors"
    assert linked.samefile(source)
    assert linked.is_symlink() == (way == "symlink")
    assert os.listdir(folder) == ["b.safetensors"]


def test_a_reflink_is_made_or_left_to_a_download(tmp_path: Path, folder: int) -> None:
    source = put(tmp_path / "a.safetensors", safetensors())
    done = link_file(model_file(source), folder, "b.safetensors", method="reflink", check=check)
    assert os.listdir(folder) == (["b.safetensors"] if done else [])
    if done:
        assert (tmp_path / "target" / "b.safetensors").read_bytes() == source.read_bytes()


def test_a_file_that_changed_since_it_was_hashed_is_not_linked(tmp_path: Path, folder: int) -> None:
    source = put(tmp_path / "a.safetensors", safetensors())
    known = model_file(source)
    source.write_bytes(safetensors(5))
    assert not link_file(known, folder, "b.safetensors", method="hard", check=check)
    source.unlink()
    assert not link_file(known, folder, "b.safetensors", method="hard", check=check)
    assert not link_file(known, folder, "b.safetensors", method="off", check=check)
    assert os.listdir(folder) == []


def test_a_taken_name_stays_and_a_wrong_one_is_refused(tmp_path: Path, folder: int) -> None:
    source = model_file(put(tmp_path / "a.safetensors", safetensors()))
    with pytest.raises(Failure, match="named as"):
        link_file(source, folder, "b.ckpt", method="hard", check=check)
    put(tmp_path / "target" / "b.safetensors", b"mine")
    with pytest.raises(Failure) as raised:
        link_file(source, folder, "b.safetensors", method="hard", check=check)
    assert raised.value.code == "download-target-taken"
    assert (tmp_path / "target" / "b.safetensors").read_bytes() == b"mine"
    assert os.listdir(folder) == ["b.safetensors"]


def test_over_disks_a_hard_link_is_left_to_a_download(tmp_path: Path) -> None:
    folder_on_other_disk = find_other_filesystem(tmp_path)
    if folder_on_other_disk is None:
        pytest.skip("needs a second filesystem")
    source = model_file(put(tmp_path / "a.safetensors", safetensors()))
    other = os.open(folder_on_other_disk, os.O_RDONLY)
    try:
        assert os.fstat(other).st_dev != source.device
        assert not link_file(source, other, "comfywatchman-test.safetensors", method="hard", check=check)
    finally:
        os.close(other)


def test_only_healthy_hashed_files_stand_for_their_bytes(tmp_path: Path) -> None:
    good = model_file(put(tmp_path / "a.safetensors", safetensors()))
    broken = model_file(put(tmp_path / "b.safetensors", safetensors(3)), problem="cut off")
    unhashed = model_file(put(tmp_path / "c.safetensors", safetensors(4)))
    known = {**hashes(broken, sha256="b" * 64), **hashes(good)}
    assert index_by_hash([good, broken, unhashed], known) == {"a" * 64: good}


def test_equal_files_are_grouped_and_what_linking_frees_is_counted(tmp_path: Path) -> None:
    one, two = (model_file(put(tmp_path / name, safetensors())) for name in ("1", "2"))
    os.link(tmp_path / "1", tmp_path / "3")
    shared = model_file(tmp_path / "3")
    elsewhere = msgspec.structs.replace(one, device=0, path="/1")
    other = model_file(put(tmp_path / "4", safetensors(9)))
    files = [two, one, shared, elsewhere, other, one]
    (group,) = find_duplicates(files, {**hashes(one, two, elsewhere), **hashes(other, sha256="c" * 64)})
    assert [(Path(copy.path).name, copy.shares) for copy in group.copies] == [
        ("1", False),
        ("1", False),
        ("2", False),
        ("3", True),
    ]
    assert (group.linkable_bytes, group.other_disk_bytes) == (one.size, one.size)


def test_links_of_one_file_and_empty_files_are_no_waste(tmp_path: Path) -> None:
    one = model_file(put(tmp_path / "1", safetensors()))
    os.link(tmp_path / "1", tmp_path / "2")
    empty = [model_file(put(tmp_path / name)) for name in ("e1", "e2")]
    assert find_duplicates([one, model_file(tmp_path / "2"), *empty], hashes(one, *empty)) == ()


def test_unhashed_files_of_equal_size_have_to_be_looked_at(tmp_path: Path) -> None:
    one, two = (model_file(put(tmp_path / name, safetensors())) for name in ("1", "2"))
    alone = model_file(put(tmp_path / "3", safetensors(9)))
    broken = model_file(put(tmp_path / "4", safetensors()), problem="cut off")
    assert find_unhashed_lookalikes([one, two, alone, broken], hashes(one)) == (two,)
    assert find_unhashed_lookalikes([one, two], hashes(one, two)) == ()
