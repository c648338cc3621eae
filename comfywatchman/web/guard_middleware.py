"""The outermost layer of the web server: base path, guard, size limit, security headers and the audit line."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comfywatchman.app.pages.recorded_changes import ChangeEvent
from comfywatchman.base.errors import Failure
from comfywatchman.web.security.request_guard import (
    CHANGING_METHODS,
    GuardRefusal,
    RefusalCode,
    RequestFacts,
    check_request,
)
from comfywatchman.web.security.web_secrets import SessionCookies, WebSecrets
from comfywatchman.web.web_options import WebOptions

COOKIE: Final = "comfywatchman_session"
MAX_BODY_BYTES: Final = 64 << 10
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers send `Origin: null` with the page's own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache, private",
}

log = logging.getLogger("comfywatchman.web")


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """Recognises sessions and tokens.

    Attributes:
        secrets: The secrets of the page.
        cookies: The session cookies.
        now: Returns the present time.
    """

    secrets: WebSecrets
    cookies: SessionCookies
    now: Callable[[], datetime]

    def has_session(self, headers: Headers) -> bool:
        """Return whether a request carries a valid session cookie.

        Raises:
            Failure: `web-secret-exposed`.
        """
        value = read_cookie(headers, COOKIE)
        return bool(value) and self.cookies.is_valid(value, self.now())

    def has_token(self, headers: Headers) -> bool:
        """Return whether a request carries the token.

        Raises:
            Failure: `web-secret-exposed`.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.secrets.is_token(token.strip())


class GuardMiddleware:
    """Answers only requests that the guard lets through, and writes a line for each change.

    Args:
        app: The pages and the API.
        options: What the server was started with.
        identity: Recognises sessions and tokens.
    """

    def __init__(self, app: ASGIApp, options: WebOptions, identity: WebIdentity) -> None:
        self._app = app
        self._options = options
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._strip_base_path(scope)
        headers = Headers(scope=scope)
        facts, refusal = self._check(scope, headers)
        is_change = scope["method"] in CHANGING_METHODS
        if refusal is not None:
            described = _describe(
                scope, facts, event=ChangeEvent.REFUSAL.value, status=refusal.status.value, why=refusal.code
            )
            log.warning("request refused", extra=described)
            response = self._build_refusal(scope, refusal, facts)
            await response(scope, receive, _add_headers(send))
            return
        if not _has_small_body(headers, is_change=is_change):
            response = PlainTextResponse("The body is too large, or its size is not stated.", 413)
            await response(scope, receive, _add_headers(send))
            return
        scope.setdefault("state", {}).update(is_signed_in=facts.has_session or facts.has_token, facts=facts)
        if not is_change:
            await self._app(scope, receive, _add_headers(send))
            return
        # Written before the change too: the program may end while it is made.
        log.info("change requested", extra=_describe(scope, facts))
        await self._app(scope, receive, _add_headers(_record_status(send, scope, facts)))

    def _strip_base_path(self, scope: Scope) -> Scope:
        base = self._options.base_path
        path: str = scope["path"]
        scope = dict(scope)
        # A proxy may have removed the base path already.
        if base and (path == base or path.startswith(f"{base}/")):
            scope["path"] = path[len(base) :] or "/"
        scope["root_path"] = ""
        return scope

    def _check(self, scope: Scope, headers: Headers) -> tuple[RequestFacts, GuardRefusal | None]:
        hosts = headers.getlist("host")
        try:
            has_session, has_token = self._identity.has_session(headers), self._identity.has_token(headers)
        except Failure as failure:
            log.warning("session not checked", extra={"code": failure.code, "error": failure.message})
            has_session = has_token = False
        facts = RequestFacts(
            method=scope["method"],
            path=scope["path"],
            host=hosts[0] if len(hosts) == 1 else None,
            origin=headers.get("origin"),
            fetch_site=headers.get("sec-fetch-site"),
            content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
            has_session=has_session,
            has_token=has_token,
        )
        return facts, check_request(facts, self._options.policy)

    def _build_refusal(self, scope: Scope, refusal: GuardRefusal, facts: RequestFacts) -> Response:
        accepts_html = "text/html" in Headers(scope=scope).get("accept", "")
        if refusal.code is RefusalCode.SESSION and accepts_html:
            location = f"{self._options.base_path}/sign-in"
            return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": location})
        response: Response
        if facts.path.startswith("/api/"):
            response = JSONResponse({"code": refusal.code.value, "message": refusal.sentence}, refusal.status)
        else:
            response = PlainTextResponse(refusal.sentence, refusal.status)
        if refusal.code is RefusalCode.SESSION:
            response.headers["WWW-Authenticate"] = "Bearer"
        if refusal.code is RefusalCode.METHOD:
            response.headers["Allow"] = "GET, HEAD, POST, PUT"
        return response


def read_cookie(headers: Headers, name: str) -> str:
    """Return the value of a cookie; empty when there is none."""
    # Browsers send cookies of all ports of a host. SimpleCookie would drop all of them because of an odd one.
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(name, "")


def _has_small_body(headers: Headers, *, is_change: bool) -> bool:
    if "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isdecimal() and int(length) <= (MAX_BODY_BYTES if is_change else 0)


def _describe(scope: Scope, facts: RequestFacts, **more: Any) -> dict[str, Any]:
    client = scope.get("client")
    return {
        "method": facts.method[:20],
        "path": facts.path[:300],
        "client": client[0] if client else "",
        "signed_in_by": "token" if facts.has_token else "session" if facts.has_session else "",
        **more,
    }


def _record_status(send: Send, scope: Scope, facts: RequestFacts) -> Send:
    async def send_recorded(message: Message) -> None:
        if message["type"] == "http.response.start":
            described = _describe(scope, facts, event=ChangeEvent.CHANGE.value, status=message["status"])
            log.info("change answered", extra=described)
        await send(message)

    return send_recorded


def _add_headers(send: Send) -> Send:
    async def send_guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_guarded
