"""The HTTP interface of the handler: `POST /run`, the state of a request, `/health` and `/ready`."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from comfywatchman import __version__
from comfywatchman.base.errors import Failure
from comfywatchman.handler.ledger import RequestLedger
from comfywatchman.handler.readiness_probe import ReadinessProbe
from comfywatchman.handler.request import MAX_REQUEST_BYTES, parse_request
from comfywatchman.handler.result import describe_failure

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})

_STATUSES: Final = {
    "handler-request-invalid": HTTPStatus.BAD_REQUEST,
    "handler-input-invalid": HTTPStatus.BAD_REQUEST,
    "handler-workflow-invalid": HTTPStatus.BAD_REQUEST,
    "download-host-refused": HTTPStatus.BAD_REQUEST,
    "handler-forbidden": HTTPStatus.FORBIDDEN,
    "handler-request-unknown": HTTPStatus.NOT_FOUND,
    "handler-key-reused": HTTPStatus.CONFLICT,
    "handler-cancelled": HTTPStatus.CONFLICT,
    "handler-input-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "handler-nodes-missing": HTTPStatus.UNPROCESSABLE_ENTITY,
    "handler-models-missing": HTTPStatus.UNPROCESSABLE_ENTITY,
    "handler-prompt-refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "handler-prompt-failed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "handler-outputs-missing": HTTPStatus.UNPROCESSABLE_ENTITY,
    "handler-outputs-too-large": HTTPStatus.UNPROCESSABLE_ENTITY,
    "handler-busy": HTTPStatus.TOO_MANY_REQUESTS,
    "handler-timeout": HTTPStatus.GATEWAY_TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may send requests.

    Attributes:
        token: The Bearer token that every request needs, except `/health` and `/ready`; None for none.
        hosts: The names under which the handler may be called without a token, against DNS rebinding.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = LOOPBACK_HOSTS

    def check(self, request: Request) -> None:
        """Refuse requests that a browser sends for another site, or without the token.

        Raises:
            Failure: `handler-forbidden`.
        """
        if self.token is not None:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise Failure("handler-forbidden", "The request has no valid token.")
        elif (request.url.hostname or "") not in self.hosts:
            raise Failure("handler-forbidden", "The Host header names no address of this handler.")
        if "origin" in request.headers:
            raise Failure("handler-forbidden", "Requests of web pages are not accepted.")


class HandlerRoutes:
    """The endpoints.

    Args:
        ledger: Runs the requests.
        probe: Knows whether ComfyUI can run them.
        access: Who may send them.
    """

    def __init__(self, ledger: RequestLedger, probe: ReadinessProbe, access: AccessPolicy) -> None:
        self._ledger = ledger
        self._probe = probe
        self._access = access

    def build(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/health", self.health, methods=["GET"]),
            Route("/ready", self.ready, methods=["GET"]),
            Route("/run", self.run, methods=["POST"]),
            Route("/run/{key}", self.show, methods=["GET"]),
            Route("/run/{key}", self.cancel, methods=["DELETE"]),
        ]
        return Starlette(routes=routes, exception_handlers={Failure: _answer_failure})

    async def health(self, _request: Request) -> Response:
        """Return that the handler answers."""
        return JSONResponse({"status": "ok", "version": __version__})

    async def ready(self, _request: Request) -> Response:
        """Return whether ComfyUI can run requests."""
        last = self._probe.last
        canary = None if last is None else {"status": last.status.value, "reason": last.reason}
        status = HTTPStatus.OK if self._probe.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"is_ready": self._probe.is_ready, "canary": canary}, status)

    async def run(self, request: Request) -> Response:
        """Run a request and return its result."""
        self._access.check(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Failure("handler-request-invalid", "The Content-Type is not application/json.")
        body = await _read_body(request)
        result = await run_in_threadpool(self._run, body)
        return JSONResponse(result)

    def _run(self, body: bytes) -> dict[str, Any]:
        request = parse_request(body)
        try:
            result = self._ledger.run(request)
        except Failure as failure:
            self._probe.note_failure(failure.code)
            raise
        if result["status"] != "success":
            # The first request with the same key failed.
            error = result["error"]
            raise Failure(error["code"], error["message"], hint=error["hint"])
        self._probe.note_success()
        return result

    async def show(self, request: Request) -> Response:
        """Return how far the request with a key is."""
        self._access.check(request)
        entry = self._ledger.find(request.path_params["key"])
        if entry is None:
            raise Failure("handler-request-unknown", "No request with that key waits, runs or has succeeded.")
        progress = entry.progress
        return JSONResponse(
            {
                "is_done": entry.done.is_set(),
                "is_running": progress.is_running,
                "node_id": progress.node_id,
                "value": progress.value,
                "maximum": progress.maximum,
                "prompts_ahead": progress.prompts_ahead,
            }
        )

    async def cancel(self, request: Request) -> Response:
        """Let the request with a key stop."""
        self._access.check(request)
        entry = self._ledger.cancel(request.path_params["key"])
        if entry is None:
            raise Failure("handler-request-unknown", "No request with that key waits, runs or has succeeded.")
        return JSONResponse({"is_done": entry.done.is_set()})


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_REQUEST_BYTES:
            message = f"The request is larger than {MAX_REQUEST_BYTES >> 20} MiB."
            raise Failure("handler-request-invalid", message)
    return bytes(body)


def _answer_failure(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Failure):
        raise error
    return JSONResponse(describe_failure(error), _STATUSES.get(error.code, HTTPStatus.SERVICE_UNAVAILABLE))
