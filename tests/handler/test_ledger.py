from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.handler import ledger as ledger_module
from comfywatchman.handler.handle import HandlerOptions
from comfywatchman.handler.ledger import RequestEntry, RequestLedger, build_entry_options
from comfywatchman.handler.request import HandlerRequest, RequestInput
from comfywatchman.jobs.execution.run_states import RunProgress

LIMIT_SECONDS = 60


def build(key: str | None = None, fingerprint: str = "") -> HandlerRequest:
    return HandlerRequest({}, key=key, fingerprint=fingerprint)


class Handler:
    """Counts what it runs, and waits for `go`."""

    def __init__(self, failure: Failure | None = None) -> None:
        self.ran: list[HandlerRequest] = []
        self.running = 0
        self.most_running = 0
        self.started = threading.Event()
        self.go = threading.Event()
        self.failure = failure

    def __call__(self, request: HandlerRequest, entry: RequestEntry) -> dict[str, Any]:
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self.ran.append(request)
        self.started.set()
        assert self.go.wait(LIMIT_SECONDS)
        self.running -= 1
        if entry.cancelled.is_set():
            raise Failure("handler-cancelled", "Cancelled.")
        if self.failure is not None:
            raise self.failure
        return {"status": "success", "outputs": [{"data": str(len(self.ran))}]}


def test_same_key_runs_once_now_and_later() -> None:
    handler = Handler()
    ledger = RequestLedger(handler)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(ledger.run, build("k")) for _ in range(4)]
        assert handler.started.wait(LIMIT_SECONDS)
        handler.go.set()
        results = [run.result(LIMIT_SECONDS) for run in runs]
    assert [*results, ledger.run(build("k"))] == [results[0]] * 5
    assert len(handler.ran) == 1


def test_requests_without_a_key_run_one_after_the_other() -> None:
    handler = Handler()
    ledger = RequestLedger(handler)
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(ledger.run, build()) for _ in range(3)]
        assert handler.started.wait(LIMIT_SECONDS)
        handler.go.set()
        for run in runs:
            run.result(LIMIT_SECONDS)
    assert (len(handler.ran), handler.most_running) == (3, 1)


def test_key_of_another_request_is_refused() -> None:
    handler = Handler()
    handler.go.set()
    ledger = RequestLedger(handler)
    ledger.run(build("k", "one"))
    with pytest.raises(Failure) as raised:
        ledger.run(build("k", "two"))
    assert raised.value.code == "handler-key-reused"


def test_failed_key_runs_again() -> None:
    handler = Handler(Failure("handler-timeout", "Late."))
    handler.go.set()
    ledger = RequestLedger(handler)
    for _ in range(2):
        with pytest.raises(Failure):
            ledger.run(build("k"))
    assert len(handler.ran) == 2
    assert ledger.find("k") is None


def test_cancelled_request_stops() -> None:
    handler = Handler()
    ledger = RequestLedger(handler)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ledger.run, build("k"))
        assert handler.started.wait(LIMIT_SECONDS)
        assert ledger.cancel("k") is not None
        handler.go.set()
        assert isinstance(run.exception(LIMIT_SECONDS), Failure)
    assert ledger.cancel("other") is None


def test_closed_ledger_stops_requests_and_takes_no_more() -> None:
    handler = Handler()
    ledger = RequestLedger(handler)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ledger.run, build())
        assert handler.started.wait(LIMIT_SECONDS)
        ledger.close()
        handler.go.set()
        assert isinstance(run.exception(LIMIT_SECONDS), Failure)
    with pytest.raises(Failure) as raised:
        ledger.run(build())
    assert raised.value.code == "handler-busy"


def test_waiting_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_WAITING", 1)
    handler = Handler()
    ledger = RequestLedger(handler)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ledger.run, build())
        assert handler.started.wait(LIMIT_SECONDS)
        with pytest.raises(Failure) as raised:
            ledger.run(build())
        handler.go.set()
        run.result(LIMIT_SECONDS)
    assert raised.value.code == "handler-busy"


@pytest.mark.parametrize(("name", "limit"), [("MAX_KEPT", 2), ("MAX_KEPT_BYTES", 2)])
def test_oldest_results_are_dropped(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(ledger_module, name, limit)
    handler = Handler()
    handler.go.set()
    ledger = RequestLedger(handler)
    for key in ("a", "b", "c"):
        ledger.run(build(key))
    assert [ledger.find(key) is not None for key in ("a", "b", "c")] == [False, True, True]


def test_kept_requests_hold_no_inputs_and_no_secret() -> None:
    handler = Handler()
    handler.go.set()
    ledger = RequestLedger(handler)
    inputs = (RequestInput("a.png", b"content"),)
    ledger.run(HandlerRequest({"1": {}}, inputs, key="k", fingerprint="f", api_key="secret"))
    assert handler.ran[0].inputs == inputs
    entry = ledger.find("k")
    assert entry is not None
    assert entry.request == HandlerRequest({}, key="k", fingerprint="f")


def test_options_of_an_entry_cancel_and_show_progress() -> None:
    entry = RequestEntry(build())
    options = build_entry_options(HandlerOptions("http://127.0.0.1:1"), entry)
    options.show_progress(RunProgress(is_running=True))
    assert (entry.progress.is_running, options.is_cancelled()) == (True, False)
    entry.cancelled.set()
    assert options.is_cancelled()
