from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.pages import report_warmer
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.report_warmer import keep_report_warm, warm_report
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.store.job_store import open_store
from tests.hosts import Host

LIMIT_SECONDS = 60.0


@pytest.fixture
def checked(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write("a.json", checkpoint="absent.safetensors")
    return host


@pytest.fixture
def host(checked: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageHost]:
    for name, text in checked.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    session = Session(checked.home, None)
    with open_store(f"sqlite:///{tmp_path / 'jobs.db'}") as store:
        yield PageHost(session, JobAgent(session), store)


def refuse() -> object:
    raise AssertionError("it is computed already")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_warm(host: PageHost) -> bool:
    try:
        host.cache_by_report("workflow rows", refuse)
        host.cache_by_report("needed", refuse)
    except AssertionError:
        return False
    return True


@pytest.mark.slow
def test_new_report_is_prepared_before_it_is_asked_for(
    checked: Host, host: PageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_warmer, "LOOK_SECONDS", 0.01)
    with keep_report_warm(host) as thread:
        checked.cycle()
        wait_for(lambda: is_warm(host))
        version = host.report_version
        checked.write("b.json")
        checked.cycle()
        assert host.report_version != version
        wait_for(lambda: is_warm(host))
        assert thread.is_alive()
    assert not thread.is_alive()


def test_host_without_report_is_no_trouble(host: PageHost) -> None:
    warm_report(host)


def test_failure_is_logged_and_left_to_the_request(
    host: PageHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_host: object, _now: object) -> None:
        raise Failure("config-wrong-type", "The value is wrong.")

    monkeypatch.setattr(report_warmer, "list_needed_actions", fail)
    with caplog.at_level("WARNING", logger="comfywatchman.web"):
        warm_report(host)
    assert "report not prepared" in caplog.text
