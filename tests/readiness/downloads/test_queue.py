from __future__ import annotations

import threading
from pathlib import Path

import pytest

from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import (
    DownloadOutcome,
    add_items,
    queue_file,
    read_queue,
    record_outcomes,
    remove_items,
)
from tests.fakes import FakeClock


def item(name: str) -> PlanItem:
    return PlanItem(name, "loras", f"https://huggingface.co/o/r/resolve/main/{name}")


def outcome(name: str, code: str | None = None) -> DownloadOutcome:
    return DownloadOutcome(item(name).id, name, how=None if code else "downloaded", code=code)


def waiting(path: Path) -> list[str]:
    return [one.filename for one in read_queue(path)[0].unfinished()]


def test_what_waits_or_may_be_tried_again_is_unfinished_and_oldest_first(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    add_items(path, [item("d")], clock=clock)
    clock.advance(awake=60)
    add_items(path, [item("a"), item("b"), item("c")], clock=clock)
    record_outcomes(
        path, [outcome("a"), outcome("b", "download-interrupted"), outcome("c", "download-gone")], clock=clock
    )
    assert waiting(path) == ["d", "b"] or sorted(waiting(path)[1:]) == ["b"]
    clock.advance(awake=60)
    add_items(path, [item("c")], clock=clock)
    assert waiting(path)[-1] == "c"
    remove_items(path, [item("b").id])
    assert waiting(path) == ["d", "c"]


def test_an_outcome_of_what_was_taken_out_stays_out(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    record_outcomes(path, [outcome("a")], clock=clock)
    assert read_queue(path)[0].entries == {}


def test_a_damaged_queue_is_set_aside(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    add_items(path, [item("a")], clock=clock)
    assert waiting(path) == ["a"]
    assert len(list(path.parent.glob("*.damaged-1"))) == 1


def test_only_so_many_ended_items_are_kept(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    names = [f"{number}" for number in range(505)]
    add_items(path, [item(name) for name in names], clock=clock)
    record_outcomes(path, [outcome(name) for name in names[:504]], clock=clock)
    assert len(read_queue(path)[0].entries) == 501
    assert waiting(path) == ["504"]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    threads = [
        threading.Thread(target=lambda n=number: add_items(path, [item(f"{n}")], clock=clock)) for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waiting(path)) == 12


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(Failure) as raised:
        add_items(queue_file(Home(tmp_path)), [item("a")], clock=FakeClock())
    assert raised.value.code == "state-unwritable"
