from __future__ import annotations

import socket
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse
from comfywatchman.readiness.search.budget import BudgetedSession, SearchBudget, decide_wait_seconds
from tests.fakes import FakeClock
from tests.servers.base import Asked, LocalServer, Reply


def code_of(session: BudgetedSession, url: str) -> str:
    with pytest.raises(Failure) as caught:
        session.get(url)
    return caught.value.code


def test_time_ends_a_budget_and_it_stays_ended() -> None:
    clock = FakeClock()
    budget = SearchBudget(clock, seconds=20)
    budget.take()
    assert budget.refusal() is None
    clock.advance(awake=20)
    assert budget.refusal() == "the time budget is used up"
    with pytest.raises(Failure, match="time budget") as caught:
        budget.take()
    assert caught.value.code == "search-budget"
    assert budget.requests == 1


def test_no_time_at_all_asks_nobody() -> None:
    with pytest.raises(Failure):
        SearchBudget(FakeClock(), seconds=0).check()


def test_requests_end_a_budget_when_one_more_is_wanted() -> None:
    budget = SearchBudget(FakeClock(), requests=2)
    budget.take()
    budget.take()
    assert budget.refusal() is None
    with pytest.raises(Failure, match="request budget"):
        budget.take()
    assert (budget.requests, budget.refusal()) == (2, "the request budget is used up")


def test_an_interrupted_search_asks_nobody_any_more() -> None:
    budget = SearchBudget(FakeClock())
    budget.stop()
    with pytest.raises(Failure, match="interrupted"):
        budget.take()


def test_every_kind_of_request_is_counted_and_passed_on() -> None:
    with LocalServer({"/a": Reply(b"[1]", headers={"X-A": "b"})}) as server:
        budget = SearchBudget(FakeClock(), requests=3)
        with BudgetedSession(budget, timeout_seconds=60) as session:
            assert session.get_json(f"{server.url}/a", token="t")  # noqa: S106 - no password == [1]
            assert session.head(f"{server.url}/a").headers["x-a"] == "b"
            assert session.post_json(f"{server.url}/a", {"q": 1}).parse_json() == [1]
            assert code_of(session, f"{server.url}/b") == "search-budget"
    assert [asked.method for asked in server.asked] == ["GET", "HEAD", "POST"]
    assert server.asked[0].headers["authorization"] == "Bearer t"
    assert budget.requests == 3


def test_equal_requests_are_sent_once() -> None:
    budget = SearchBudget(FakeClock())
    with LocalServer({"/a": Reply(b"[1]")}) as server, BudgetedSession(budget, timeout_seconds=60) as session:
        answers = [session.get(f"{server.url}/{path}").body for path in ("a", "a", "a?q=1")]
        assert [session.get(f"{server.url}/none").status for _ in range(2)] == [404, 404]
        session.get(f"{server.url}/a", byte_range=(0, 1))
        session.get(f"{server.url}/a", headers={"X-Own": "1"})
    assert answers == [b"[1]"] * 3
    assert [asked.path for asked in server.asked] == ["/a", "/a?q=1", "/none", "/none", "/a", "/a"]
    assert budget.requests == 6


@pytest.mark.slow
def test_what_is_kept_of_answers_is_bounded() -> None:
    large = Reply(bytes(12 << 20))
    keeping = BudgetedSession(SearchBudget(FakeClock()), timeout_seconds=30)
    with LocalServer({"/1": large, "/2": large, "/3": large}) as server, keeping as session:
        for path in "123123":
            session.get(f"{server.url}/{path}")
    assert [asked.path for asked in server.asked] == ["/1", "/2", "/3", "/3"]


def test_two_timeouts_pause_only_that_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
    budget = SearchBudget(FakeClock())
    with LocalServer({"/a": Reply(b"1")}) as server, BudgetedSession(budget, timeout_seconds=60) as session:
        assert {code_of(session, f"{silent}/{number}") for number in range(4)} == {"http-unreachable"}
        assert budget.requests == 2
        assert session.get(f"{server.url}/a").status == 200


def test_first_timeout_reason_is_kept_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"127.0.0.1:{listener.getsockname()[1]}"
    budget = SearchBudget(FakeClock())
    with LocalServer({"/a": Reply(b"{}", 500)}) as server, BudgetedSession(budget, timeout_seconds=60) as session:
        for path in ("secret/one", "two"):
            code_of(session, f"http://{silent}/{path}?key=x")
        session.get(f"{server.url}/a")
    assert budget.unreachable == {silent: f"{silent} did not answer: Connection refused."}


def test_unusable_proxy_pauses_its_servers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "garbage://")
    budget = SearchBudget(FakeClock())
    with BudgetedSession(budget, timeout_seconds=60) as session:
        for number in range(2):
            assert code_of(session, f"https://hub.example/{number}?key=x") == "network-settings"
    assert budget.requests == 1
    reason = "HTTPS_PROXY is not the address of an http, https or socks5 proxy."
    assert budget.unreachable == {"hub.example": reason}


def test_one_silence_between_answers_is_forgiven() -> None:
    with (
        LocalServer({"/a": Reply(b"1")}) as server,
        BudgetedSession(SearchBudget(FakeClock()), timeout_seconds=60) as session,
    ):
        server.pages["/cut"] = lambda _asked, _handler: None
        for _ in range(3):
            assert code_of(session, f"{server.url}/cut") == "http-unreachable"
            assert session.get(f"{server.url}/a").status == 200


def test_a_body_that_cannot_be_used_is_no_silence() -> None:
    small = BudgetedSession(SearchBudget(FakeClock()), timeout_seconds=5, max_bytes=1000)
    with LocalServer({"/a": Reply(b"x" * 2000)}) as server, small as session:
        assert [code_of(session, f"{server.url}/a") for _ in range(4)] == ["http-body"] * 4


def test_a_server_that_asks_for_patience_is_left_alone() -> None:
    patient = BudgetedSession(SearchBudget(FakeClock()), timeout_seconds=60)
    with LocalServer({"/a": Reply(b"{}", 429)}) as server, patient as session:
        assert session.get(f"{server.url}/a").status == 429
        assert code_of(session, f"{server.url}/a") == "search-paused"
    assert len(server.asked) == 1


def test_request_to_an_overloaded_server_is_sent_again_while_a_person_waits() -> None:
    replies = [Reply(b"{}", 429, {"Retry-After": "0"}), Reply(b"{}", 503, {"Retry-After": "0"}), Reply(b"1")]
    with LocalServer() as server:
        server.pages["/a"] = lambda _asked, _handler: replies[min(len(server.asked), 3) - 1]
        budget = SearchBudget(FakeClock(), patience_seconds=60)
        with BudgetedSession(budget, timeout_seconds=60) as session:
            assert session.get(f"{server.url}/a").body == b"1"
    assert (len(server.asked), budget.requests) == (3, 3)


def test_server_that_stays_overloaded_is_paused_after_four_attempts() -> None:
    patient = BudgetedSession(SearchBudget(FakeClock(), patience_seconds=60), timeout_seconds=60)
    with LocalServer({"/a": Reply(b"{}", 429, {"Retry-After": "0"})}) as server, patient as session:
        assert session.get(f"{server.url}/a").status == 429
        assert code_of(session, f"{server.url}/a") == "search-paused"
        # The limit of downloads is another one.
        assert session.head(f"{server.url}/a").status == 429
    assert [asked.method for asked in server.asked] == ["GET"] * 4 + ["HEAD"] * 4


def test_interrupted_search_does_not_wait() -> None:
    budget = SearchBudget(FakeClock(), patience_seconds=600)
    with LocalServer() as server:

        def interrupt(_asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply:
            budget.stop()
            return Reply(b"{}", 429, {"Retry-After": "500"})

        server.pages["/a"] = interrupt
        with BudgetedSession(budget, timeout_seconds=60) as session:
            assert code_of(session, f"{server.url}/a") == "search-budget"


@pytest.mark.parametrize(
    ("status", "headers", "attempts", "wait_seconds"),
    [
        (200, {}, 1, None),
        (500, {"retry-after": "1"}, 1, None),
        (429, {"retry-after": "7"}, 1, 7.0),
        (503, {"retry-after": "Fri, 20 Nov 2026 14:00:30 GMT"}, 1, 30.0),
        (429, {"retry-after": "61"}, 1, None),
        (429, {}, 1, 1.0),
        (429, {}, 3, 4.0),
    ],
)
def test_wait_follows_the_server_up_to_the_limit(
    status: int, headers: dict[str, str], attempts: int, wait_seconds: float | None
) -> None:
    now = datetime(2026, 11, 20, 14, tzinfo=UTC)
    response = HttpResponse("http://a.example", status, headers, b"")
    assert decide_wait_seconds(response, attempts, 60.0, now) == wait_seconds
    assert decide_wait_seconds(response, attempts, 0.0, now) is None
