"""The structured log: whole JSON lines, bounded, and never the program's trouble."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from comfywatchman.base.clock import parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.logs import NAME, open_log, read_last_records
from comfywatchman.base.settings import LogSection

SMALL = LogSection(level="info", max_mb=0.001, backups=2)
LARGE = LogSection(level="info", max_mb=10.0, backups=5)


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    logger = logging.getLogger(NAME)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def lines(folder: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (folder / "structured.log").read_bytes().splitlines()]


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_utc")
def test_line_is_a_json_object_with_facts_as_fields(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", LARGE)
    log.info("cycle skipped", extra={"reason": "vram\nlow", "path": Path("/x")})
    (line,) = lines(tmp_path / "log")
    written = parse_utc(str(line.pop("timestamp")))
    assert written.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert line == {
        "level": "INFO",
        "logger": NAME,
        "message": "cycle skipped",
        "reason": "vram\nlow",
        "path": line["path"],
    }
    assert "/x" in str(line["path"])


def test_name_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    log = open_log(tmp_path, LARGE)
    log.info("read", extra={"path": "bad\udcff.json", "all": ["\ud800"], "as_path": Path("bad\udcff")})
    log.info("bad\udcff message")
    first, second = lines(tmp_path)
    assert first["path"] == "bad\\udcff.json"
    assert first["all"] == ["\\ud800"]
    assert second["message"] == "bad\\udcff message"


def test_exception_is_one_line(tmp_path: Path) -> None:
    log = open_log(tmp_path, LARGE)
    try:
        orjson.loads(b"{")
    except ValueError:
        log.exception("cycle failed")
    (line,) = lines(tmp_path)
    assert "JSONDecodeError" in str(line["exc_info"])


def test_records_below_the_level_are_dropped(tmp_path: Path) -> None:
    log = open_log(tmp_path, LogSection(level="warning", max_mb=1.0, backups=1))
    log.info("no")
    log.warning("yes")
    assert [line["message"] for line in lines(tmp_path)] == ["yes"]


def test_log_is_rotated(tmp_path: Path) -> None:
    log = open_log(tmp_path, SMALL)
    for number in range(100):
        log.info("line", extra={"number": number, "fill": "x" * 100})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "structured.log",
        "structured.log.1",
        "structured.log.2",
    ]
    assert all(path.stat().st_size < 1200 for path in tmp_path.iterdir())
    assert lines(tmp_path)[-1]["number"] == 99


def test_smallest_size_still_rotates(tmp_path: Path) -> None:
    log = open_log(tmp_path, LogSection(level="info", max_mb=1e-9, backups=1))
    for _ in range(5):
        log.info("line")
    assert len(lines(tmp_path)) == 1


def test_full_disk_does_not_reach_the_program(tmp_path: Path) -> None:
    (tmp_path / "structured.log").symlink_to("/dev/full")
    log = open_log(tmp_path, LARGE)
    log.info("lost")
    log.error("lost too")
    open_log(tmp_path / "other", LARGE).info("kept")
    assert [line["message"] for line in lines(tmp_path / "other")] == ["kept"]


def test_failed_rotation_does_not_reach_the_program(tmp_path: Path) -> None:
    log = open_log(tmp_path, SMALL)
    (tmp_path / "structured.log.1").mkdir()
    (tmp_path / "structured.log.1" / "in the way").mkdir()
    (tmp_path / "structured.log.2").mkdir()
    (tmp_path / "structured.log.2" / "in the way").mkdir()
    for _ in range(50):
        log.info("line", extra={"fill": "x" * 100})
    assert (tmp_path / "structured.log").exists()


def test_reopened_log_writes_each_line_once(tmp_path: Path) -> None:
    open_log(tmp_path, LARGE)
    open_log(tmp_path, LARGE).info("once")
    assert len(lines(tmp_path)) == 1


def test_log_that_cannot_be_created_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failure) as caught:
        open_log(tmp_path / "file", LARGE)
    assert caught.value.code == "state-unwritable"
    assert caught.value.hint


def test_fifo_in_place_of_the_log_is_a_failure(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "structured.log")
    with pytest.raises(Failure, match="a pipe") as caught:
        open_log(tmp_path, LARGE)
    assert caught.value.code == "state-unwritable"


def test_last_records_are_read_without_half_lines(tmp_path: Path) -> None:
    assert read_last_records(tmp_path / "structured.log") == []
    open_log(tmp_path, LARGE).info("once", extra={"path": "/check"})
    with (tmp_path / "structured.log").open("ab") as file:
        file.write(b'[1]\n{"message": "unfin')
    (record,) = read_last_records(tmp_path / "structured.log")
    assert (record["message"], record["path"]) == ("once", "/check")


def test_last_records_go_on_in_the_file_that_was_rotated_last(tmp_path: Path) -> None:
    log = open_log(tmp_path, SMALL)
    for number in range(100):
        log.info("line", extra={"number": number, "fill": "x" * 100})
    numbers = [record["number"] for record in read_last_records(tmp_path / "structured.log")]
    assert numbers == list(range(100 - len(numbers), 100))
    assert len(numbers) > len(lines(tmp_path))


def test_pipe_in_place_of_the_log_has_no_records(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "structured.log")
    assert read_last_records(tmp_path / "structured.log") == []
