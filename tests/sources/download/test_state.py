from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.partial_file import PartialFile, ResumeNote, open_partial
from comfywatchman.sources.download.state import DownloadState
from comfywatchman.sources.download.target import DownloadRequest
from tests.sources.download.support import build_limits, sha256

CONTENT = b"content"
TAGGED = ResumeNote(validator='"v1"', commit="c", boot_id="now")


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartialFile]:
    folder = os.open(tmp_path, os.O_RDONLY)
    with open_partial(folder, ".a.part") as opened:
        yield opened
    os.close(folder)


def state_of(part: PartialFile, size: int | None = None, digest: str | None = None) -> DownloadState:
    request = DownloadRequest("a", "https://hub/a", size, digest)
    return DownloadState(request, part, ResumeNote(boot_id="now"), "now")


def write(part: PartialFile, note: ResumeNote) -> None:
    os.pwrite(part.descriptor, CONTENT, 0)
    part.size = len(CONTENT)
    part.write_note(note)


def test_empty_partial_file_resumes_at_zero(part: PartialFile) -> None:
    state = state_of(part)
    assert state.resume(build_limits()) == 0
    assert state.responses == 0


@pytest.mark.parametrize(
    ("size", "digest", "note", "resumed_from"),
    [
        (None, "0" * 64, ResumeNote(), 7),
        (7, "0" * 64, ResumeNote(), 7),
        (6, "0" * 64, TAGGED, 0),
        (None, None, TAGGED, 7),
        (None, None, ResumeNote(boot_id="now"), 0),
        (None, None, ResumeNote(validator='"v1"', boot_id="before"), 0),
    ],
)
def test_bytes_are_resumed_only_if_they_can_be_verified(
    part: PartialFile, size: int | None, digest: str | None, note: ResumeNote, resumed_from: int
) -> None:
    write(part, note)
    state = state_of(part, size, digest)
    assert state.resume(build_limits()) == resumed_from
    assert part.size == resumed_from
    assert state.responses == (1 if resumed_from else 0)
    assert state.note == (note if resumed_from else ResumeNote(boot_id="now"))


def test_hashing_existing_bytes_can_be_stopped(part: PartialFile) -> None:
    write(part, TAGGED)
    with pytest.raises(Failure) as raised:
        state_of(part).resume(build_limits(wait=lambda _seconds: True))
    assert raised.value.code == "download-stopped"


def test_file_is_whole_by_size_or_by_the_server(part: PartialFile) -> None:
    part.append(CONTENT)
    assert state_of(part, 7).is_whole()
    assert not state_of(part, 8).is_whole()
    state = state_of(part)
    assert not state.is_whole()
    state.is_complete = True
    assert state.is_whole()


@pytest.mark.parametrize(
    ("size", "digest", "expected"),
    [
        (None, None, True),
        (7, sha256(CONTENT), True),
        (8, sha256(CONTENT), False),
        (7, "0" * 64, False),
    ],
)
def test_content_is_compared_with_size_and_hash(
    part: PartialFile,
    size: int | None,
    digest: str | None,
    expected: bool,  # noqa: FBT001 - parametrized
) -> None:
    part.append(CONTENT)
    assert state_of(part, size, digest).has_expected_content(sha256(CONTENT)) == expected


def test_bytes_missing_on_the_disk_are_detected(part: PartialFile) -> None:
    part.append(CONTENT)
    os.ftruncate(part.descriptor, 3)
    assert not state_of(part).has_expected_content(sha256(CONTENT))


def test_restart_clears_everything_three_times_at_most(part: PartialFile) -> None:
    state = state_of(part)
    for _ in range(3):
        part.append(CONTENT)
        state.note, state.is_complete, state.responses = TAGGED, True, 2
        state.restart()
        assert (part.size, state.note, state.is_complete, state.responses) == (0, ResumeNote(boot_id="now"), False, 0)
    with pytest.raises(Failure) as raised:
        state.restart()
    assert raised.value.code == "download-interrupted"
