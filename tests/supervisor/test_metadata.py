"""Reading and deleting in `.metadata/`; what each reader makes of unusable files is tested beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.metadata import MAX_STATE_BYTES, delete_metadata_file, read_metadata_number


def test_file_that_cannot_be_deleted_is_a_failure(metadata: Path) -> None:
    (metadata / ".cmd").mkdir()
    with pytest.raises(Failure, match="cannot be deleted") as caught:
        delete_metadata_file(metadata / ".cmd")
    assert caught.value.code == "state-unwritable"


def test_deleting_what_is_not_there_is_no_failure(metadata: Path) -> None:
    delete_metadata_file(metadata / ".cmd")
    delete_metadata_file(metadata / "absent" / ".cmd")


def test_deleting_below_a_file_deletes_nothing(metadata: Path) -> None:
    (metadata / "file").touch()
    delete_metadata_file(metadata / "file" / ".cmd")


@pytest.mark.parametrize("text", ["1_000", "+5", "٣", "1 2", "0x10", "5.0", "", "12345678901"])
def test_only_plain_digits_are_a_number(metadata: Path, text: str) -> None:
    (metadata / "number").write_text(text)
    assert read_metadata_number(metadata / "number") is None


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 42\n", 42), ("0042", 42), ("4294967295", 4294967295)])
def test_number_may_stand_among_blanks(metadata: Path, text: str, number: int) -> None:
    (metadata / "number").write_text(text)
    assert read_metadata_number(metadata / "number") == number


def test_largest_file_is_read(metadata: Path) -> None:
    (metadata / "number").write_bytes(b"7" + b" " * (MAX_STATE_BYTES - 1))
    assert read_metadata_number(metadata / "number") == 7
