from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base import rename
from comfywatchman.base.rename import rename_without_replacing
from tests.model_files import put


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def only_links() -> None:
    """Stand for a filesystem, or a libc, without renameat2."""


@pytest.mark.parametrize("has_renameat2", [True, False])
def test_a_free_name_is_taken_and_a_taken_one_stays(
    tmp_path: Path,
    folder: int,
    monkeypatch: pytest.MonkeyPatch,
    has_renameat2: bool,  # noqa: FBT001 - parametrized
) -> None:
    if not has_renameat2:
        monkeypatch.setattr(rename, "_load_renameat2", only_links)
    put(tmp_path / "a", b"1")
    rename_without_replacing("a", "b", folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    put(tmp_path / "a", b"2")
    with pytest.raises(FileExistsError):
        rename_without_replacing("a", "b", folder=folder)
    assert (tmp_path / "b").read_bytes() == b"1"
    assert (tmp_path / "a").read_bytes() == b"2"
    with pytest.raises(FileNotFoundError):
        rename_without_replacing("gone", "c", folder=folder)


def test_a_link_to_nowhere_counts_as_taken(tmp_path: Path, folder: int) -> None:
    (tmp_path / "b").symlink_to("nowhere")
    put(tmp_path / "a")
    with pytest.raises(FileExistsError):
        rename_without_replacing("a", "b", folder=folder)
