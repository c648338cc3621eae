"""The downloaded copy of the Manager's class map: at most one attempt a day, and failures are harmless."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.hosts import Host
from tests.servers.base import LocalServer, Reply

DAY = 86400.0
CONTENT = Reply(orjson.dumps({"https://github.com/x/one": [["MyNode"], {"title_aux": "One"}]}))


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer({"/map.json": CONTENT}) as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, server: LocalServer) -> Host:
    host = Host(tmp_path, nodes__class_map_url=f"{server.url}/map.json", nodes__class_map_days=7)
    host.write("a.json", last="MyNode")
    return host


def pass_time(host: Host, seconds: float) -> None:
    """Advance the clock and the modification times of the files."""
    for path in host.layout.class_map_folder.iterdir():
        status = path.stat()
        os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))


@pytest.mark.slow
def test_map_is_downloaded_once_and_shown_with_its_age(host: Host, server: LocalServer) -> None:
    entry = host.entry("a.json")
    assert entry.status == "MISSING"
    assert "map, fetched 20" in (entry.missing_nodes[0].packages[0].evidence or "")
    host.cycle()
    pass_time(host, 2 * DAY)
    host.cycle()
    assert len(server.asked) == 1


@pytest.mark.slow
def test_old_copy_is_downloaded_again(host: Host, server: LocalServer) -> None:
    host.cycle()
    pass_time(host, 8 * DAY)
    host.cycle()
    assert len(server.asked) == 2


@pytest.mark.parametrize("reply", [Reply(b"oops", 500), Reply(b"[]"), Reply(b"<html>")])
@pytest.mark.slow
def test_failed_download_is_a_problem_and_repeated_after_a_day(host: Host, server: LocalServer, reply: Reply) -> None:
    server.pages["/map.json"] = reply
    status = host.status()
    assert status.summary.uncertain == 1
    assert len([problem for problem in status.problems if "the next attempt is in a day" in problem]) == 1
    assert host.status().problems == ()
    assert len(server.asked) == 1
    pass_time(host, DAY + 100)
    server.pages["/map.json"] = CONTENT
    assert host.status().summary.missing == 1


@pytest.mark.slow
def test_failed_download_leaves_the_old_copy_in_use(host: Host, server: LocalServer) -> None:
    host.cycle()
    pass_time(host, 8 * DAY)
    server.pages["/map.json"] = Reply(b"oops", 500)
    status = host.status()
    assert status.summary.missing == 1
    assert "status 500" in status.problems[0]


@pytest.mark.slow
def test_copy_dated_in_the_future_is_downloaded_again(host: Host, server: LocalServer) -> None:
    host.cycle()
    pass_time(host, -400 * DAY)
    host.cycle()
    assert len(server.asked) == 2


def test_unwritable_copy_is_a_problem(host: Host) -> None:
    host.layout.class_map_folder.parent.mkdir()
    host.layout.class_map_folder.write_bytes(b"")
    assert any("could not be downloaded" in problem for problem in host.status().problems)


def test_empty_url_downloads_nothing(host: Host, server: LocalServer) -> None:
    host.set(nodes__class_map_url="")
    assert host.status().summary.uncertain == 1
    assert server.asked == []
