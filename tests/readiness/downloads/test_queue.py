from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import (
    DownloadOutcome,
    DownloadQueue,
    QueueEntry,
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
    return [one.filename for one in read_queue(path)[0].unfinished("c")]


def test_what_waits_or_may_be_tried_again_is_unfinished_and_oldest_first(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    add_items(path, [item("d")], "c", clock=clock)
    clock.advance(awake=60)
    add_items(path, [item("a"), item("b"), item("c")], "c", clock=clock)
    record_outcomes(
        path, [outcome("a"), outcome("b", "download-interrupted"), outcome("c", "download-gone")], "c", clock=clock
    )
    assert waiting(path) == ["d", "b"] or sorted(waiting(path)[1:]) == ["b"]
    clock.advance(awake=60)
    add_items(path, [item("c")], "c", clock=clock)
    assert waiting(path)[-1] == "c"
    remove_items(path, [item("b").id], "c")
    assert waiting(path) == ["d", "c"]


def test_an_outcome_of_what_was_taken_out_stays_out(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    record_outcomes(path, [outcome("a")], "c", clock=clock)
    assert read_queue(path)[0].entries == {}


def test_a_damaged_queue_is_set_aside(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    add_items(path, [item("a")], "c", clock=clock)
    assert waiting(path) == ["a"]
    assert len(list(path.parent.glob("*.damaged-1"))) == 1


def test_only_so_many_ended_items_are_kept(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    names = [f"{number}" for number in range(505)]
    add_items(path, [item(name) for name in names], "c", clock=clock)
    record_outcomes(path, [outcome(name) for name in names[:504]], "c", clock=clock)
    assert len(read_queue(path)[0].entries) == 501
    assert waiting(path) == ["504"]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    threads = [
        threading.Thread(target=lambda n=number: add_items(path, [item(f"{n}")], "c", clock=clock))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waiting(path)) == 12


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(Failure) as raised:
        add_items(queue_file(Home(tmp_path)), [item("a")], "c", clock=FakeClock())
    assert raised.value.code == "state-unwritable"


def test_each_comfyui_has_its_own_items(tmp_path: Path) -> None:
    path, clock = queue_file(Home(tmp_path)), FakeClock()
    for comfyui in ("c", "d"):
        add_items(path, [item("a")], comfyui, clock=clock)
    record_outcomes(path, [outcome("a")], "d", clock=clock)
    queue = read_queue(path)[0]
    assert (waiting(path), queue.unfinished("d"), queue.unfinished(None)) == (["a"], (), ())
    remove_items(path, [item("a").id], "c")
    assert len(read_queue(path)[0].entries) == 1


def test_items_of_older_versions_are_not_resumed(tmp_path: Path) -> None:
    path = queue_file(Home(tmp_path))
    path.parent.mkdir(parents=True)
    path.write_bytes(to_json(DownloadQueue({item("a").id: QueueEntry(item("a"), "2026-11-20T14:00:00Z")})))
    assert waiting(path) == []
    assert len(read_queue(path)[0].unfinished(None)) == 1
    remove_items(path, [item("a").id], None)
    assert read_queue(path)[0].entries == {}


@pytest.mark.parametrize(
    ("code", "hours", "is_waiting"),
    [
        ("download-wrong-content", 1000, True),
        ("download-gone", 1000, True),
        ("download-no-access", 1, True),
        ("download-early-access", 25, False),
        ("download-interrupted", 1, False),
        (None, 1, False),
    ],
)
def test_failures_that_do_not_pass_wait_for_a_person(code: str | None, hours: int, *, is_waiting: bool) -> None:
    ended = datetime(2026, 11, 20, 14, tzinfo=UTC)
    outcome = DownloadOutcome("x", "a.safetensors", how=None if code else "downloaded", code=code)
    item = PlanItem("a.safetensors", "loras", "https://huggingface.co/x")
    entry = QueueEntry(item, "2026-11-20T13:00:00Z", "2026-11-20T14:00:00Z", outcome, "c")
    queue = DownloadQueue({"x-c": entry})
    assert queue.is_waiting_for_person("x", "c", ended + timedelta(hours=hours)) is is_waiting
    assert not queue.is_waiting_for_person("x", "other", ended)
