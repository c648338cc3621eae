from __future__ import annotations

from typing import Any

from comfywatchman.readiness.downloads.duplicates import find_duplicates, find_unhashed_lookalikes
from comfywatchman.readiness.models.index import FileHashes
from comfywatchman.readiness.models.inventory import FileKey, ModelFile

SIZE = 1000


def model(name: str, inode: int, **changes: Any) -> ModelFile:
    facts: dict[str, Any] = {
        "size": SIZE,
        "mtime_ns": 1,
        "device": 1,
        "format": "safetensors",
        "problem": None,
        "problem_code": None,
    }
    path = f"/models/loras/{name}"
    return ModelFile(folder="loras", name=name, path=path, inode=inode, **{**facts, **changes})


def hashes(*files: ModelFile, sha256: str = "a" * 64) -> dict[FileKey, FileHashes]:
    return {file.key: FileHashes(sha256, None, "b" * 64) for file in files}


def test_copies_on_one_disk_can_be_linked_and_on_another_only_by_symbolic_link() -> None:
    files = [model("a", 1), model("b", 2), model("c", 3, device=2)]
    (group,) = find_duplicates(files, hashes(*files))
    assert [copy.path.rpartition("/")[2] for copy in group.copies] == ["a", "b", "c"]
    assert (group.linkable_bytes, group.other_disk_bytes) == (SIZE, SIZE)


def test_hard_links_take_no_space_and_are_no_group() -> None:
    files = [model("a", 1), model("b", 1)]
    assert find_duplicates(files, hashes(*files)) == ()
    linked_and_copied = [*files, model("c", 2)]
    (group,) = find_duplicates(linked_and_copied, hashes(*linked_and_copied))
    assert [copy.shares for copy in group.copies] == [False, True, False]
    assert group.linkable_bytes == SIZE


def test_largest_savings_come_first() -> None:
    small = [model("a", 1), model("b", 2)]
    large = [model("c", 3, size=5000), model("d", 4, size=5000)]
    known = {**hashes(*small), **hashes(*large, sha256="c" * 64)}
    assert [group.size for group in find_duplicates([*small, *large], known)] == [5000, SIZE]


def test_only_healthy_files_of_equal_size_without_a_hash_are_lookalikes() -> None:
    hashed, unhashed = model("a", 1), model("b", 2)
    broken = model("c", 3, problem="truncated")
    alone = model("d", 4, size=7)
    assert find_unhashed_lookalikes([hashed, unhashed, broken, alone], hashes(hashed)) == (unhashed,)
