"""The HTTP interface, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.canary import CanaryResult, CanaryStatus
from comfywatchman.handler import application as application_module
from comfywatchman.handler.application import AccessPolicy, HandlerRoutes
from comfywatchman.handler.ledger import RequestEntry, RequestLedger
from comfywatchman.handler.readiness_probe import ReadinessProbe
from comfywatchman.handler.request import HandlerRequest
from comfywatchman.web.server import open_socket, serve
from tests.handler.requests import build_body

TOKEN = "letters-and-digits"  # noqa: S105 - not a secret
LIMIT_SECONDS = 60


class Site:
    """The application with a handler whose next failure a test chooses."""

    def __init__(self, token: str | None = None) -> None:
        self.ran: list[HandlerRequest] = []
        self.failure: Failure | None = None
        self.probe = ReadinessProbe(lambda: CanaryResult(CanaryStatus.LOST))
        self.ledger = RequestLedger(self._handle)
        self.application = HandlerRoutes(self.ledger, self.probe, AccessPolicy(token)).build()
        self.client = httpx.Client(timeout=LIMIT_SECONDS)

    def _handle(self, request: HandlerRequest, _entry: RequestEntry) -> dict[str, Any]:
        self.ran.append(request)
        if self.failure is not None:
            raise self.failure
        return {"status": "success", "outputs": []}

    def run(self, body: bytes | None = None, headers: dict[str, str] | None = None) -> httpx.Response:
        content_type = {"content-type": "application/json"}
        return self.client.post("/run", content=body or build_body(), headers={**content_type, **(headers or {})})


@contextmanager
def serve_site(token: str | None = None) -> Iterator[Site]:
    site = Site(token)
    listener = open_socket("127.0.0.1", 0)
    site.client.base_url = httpx.URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
    with serve(site.application, listener), site.client:
        yield site


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    with serve_site() as site:
        yield site


@pytest.fixture
def site(served: Site) -> Site:
    """Serve one site for all tests: stopping a server takes 0.2 s."""
    served.ran.clear()
    served.failure = None
    served.probe.is_ready, served.probe.last = False, None
    return served


def read_code(response: httpx.Response) -> str:
    return str(json.loads(response.content)["error"]["code"])


def test_request_returns_its_result(site: Site) -> None:
    assert site.run().json() == {"status": "success", "outputs": []}
    assert site.probe.is_ready


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("handler-prompt-failed", 422),
        ("handler-timeout", 504),
        ("handler-server-lost", 503),
        ("http-unreachable", 503),
        ("handler-input-too-large", 413),
    ],
)
def test_failure_has_a_status_and_a_code(code: str, status: int, site: Site) -> None:
    site.failure = Failure(code, "It failed.", facts={"prompt_id": "id"})
    response = site.run()
    assert (response.status_code, read_code(response)) == (status, code)
    assert response.json()["error"]["prompt_id"] == "id"


def test_invalid_requests_are_refused(site: Site) -> None:
    assert read_code(site.run(b"{")) == "handler-request-invalid"
    response = site.client.post("/run", content=build_body(), headers={"content-type": "text/plain"})
    assert (response.status_code, read_code(response)) == (400, "handler-request-invalid")
    assert site.ran == []


def test_large_requests_are_refused(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr(application_module, "MAX_REQUEST_BYTES", 10)
    assert read_code(site.run()) == "handler-request-invalid"


def test_requests_of_other_sites_are_refused(site: Site) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "http://127.0.0.1:8191"}):
        response = site.run(headers=headers)
        assert (response.status_code, read_code(response)) == (403, "handler-forbidden")
    assert site.ran == []


@pytest.mark.slow
def test_token_is_needed_when_there_is_one() -> None:
    good = {"authorization": f"Bearer {TOKEN}"}
    with serve_site(TOKEN) as site:
        for headers in ({}, {"authorization": "Bearer other"}, {**good, "origin": "http://a"}):
            assert site.run(headers=headers).status_code == 403
        assert site.client.get("/run/k").status_code == 403
        assert site.run(headers={**good, "host": "handler.example"}).status_code == 200
        assert site.client.get("/health").json()["status"] == "ok"


def test_readiness_is_reported(site: Site) -> None:
    response = site.client.get("/ready")
    assert (response.status_code, response.json()) == (503, {"is_ready": False, "canary": None})
    site.probe.last = CanaryResult(CanaryStatus.RAN)
    site.probe.note_success()
    response = site.client.get("/ready")
    assert (response.status_code, response.json()["canary"]["status"]) == (200, "ran")
    site.failure = Failure("http-unreachable", "It is gone.")
    site.run()
    assert site.client.get("/ready").status_code == 503


def test_request_is_found_and_cancelled_by_its_key(site: Site) -> None:
    for method in ("GET", "DELETE"):
        response = site.client.request(method, "/run/k")
        assert (response.status_code, read_code(response)) == (404, "handler-request-unknown")
    site.run(build_body(idempotency_key="k"))
    site.run(build_body(idempotency_key="k"))
    assert len(site.ran) == 1
    assert site.client.get("/run/k").json()["is_done"] is True
    assert site.client.delete("/run/k").json() == {"is_done": True}
