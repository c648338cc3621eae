"""Which requests the web page answers at all: known hosts, same origin, and a content type that no other site can send.

Pure: the middleware passes in the facts of a request. A browser that visits a hostile page must be unable to make this
program do something (cross-site request forgery) or to read it under another name (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
CHANGING_METHODS: Final = frozenset({"POST", "PUT"})
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = "application/json"


class RefusalCode(StrEnum):
    """Why a request is refused."""

    HOST = "host-unknown"
    METHOD = "method-not-allowed"
    ORIGIN = "cross-site"
    CONTENT_TYPE = "content-type"
    SESSION = "session-needed"


@dataclass(frozen=True, slots=True)
class GuardRefusal:
    """A refused request: why, the HTTP status, and the sentence for a person."""

    code: RefusalCode
    status: HTTPStatus
    sentence: str


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The parts of a request that decide whether it is answered.

    Attributes:
        method: The HTTP method.
        path: The path below the base path.
        host: The Host header; None when it was absent or repeated.
        origin: The Origin header; None when absent.
        fetch_site: The Sec-Fetch-Site header; None when absent.
        content_type: The media type of the body without parameters, in lower case; empty when there is none.
        has_session: Whether the request carries a valid session cookie.
        has_token: Whether it carries the token in its Authorization header, which no other site can make a browser do.
    """

    method: str
    path: str
    host: str | None
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str = ""
    has_session: bool = False
    has_token: bool = False


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What the server was started with.

    Attributes:
        hosts: Names and addresses under which it may be called, without ports.
        needs_session_to_read: Whether reading needs a session too, as it does beyond loopback.
        open_paths: Paths that anybody may read, and send a form to: the sign-in page and what it needs.
        open_prefixes: Prefixes of such paths.
    """

    hosts: frozenset[str]
    needs_session_to_read: bool = False
    open_paths: frozenset[str] = frozenset({"/sign-in", "/theme", "/health"})
    open_prefixes: tuple[str, ...] = ("/static/",)

    def is_open(self, path: str) -> bool:
        """Return whether anybody may use a path."""
        return path in self.open_paths or path.startswith(self.open_prefixes)


def check_request(facts: RequestFacts, policy: GuardPolicy) -> GuardRefusal | None:
    """Return why a request is refused; None when it may go on."""
    if facts.host is None or parse_host(facts.host) not in policy.hosts:
        names = "The Host header names no address of this server."
        return GuardRefusal(RefusalCode.HOST, HTTPStatus.MISDIRECTED_REQUEST, names)
    if facts.method in SAFE_METHODS:
        is_allowed = not policy.needs_session_to_read or policy.is_open(facts.path)
        return None if is_allowed or _is_known(facts) else _refuse_session("Sign in to read this page.")
    if facts.method not in CHANGING_METHODS:
        return GuardRefusal(
            RefusalCode.METHOD, HTTPStatus.METHOD_NOT_ALLOWED, f"{facts.method[:20]} is not supported here."
        )
    return _check_change(facts, policy)


def _check_change(facts: RequestFacts, policy: GuardPolicy) -> GuardRefusal | None:
    if not _is_same_origin(facts):
        sentence = "Another site sent this request. Changes are accepted from this page only."
        return GuardRefusal(RefusalCode.ORIGIN, HTTPStatus.FORBIDDEN, sentence)
    is_api = facts.path.startswith("/api/")
    allowed = {JSON_TYPE, ""} if is_api else {FORM_TYPE}
    if facts.content_type not in allowed:
        sentence = f"Send the body as {JSON_TYPE if is_api else FORM_TYPE}."
        return GuardRefusal(RefusalCode.CONTENT_TYPE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, sentence)
    if policy.is_open(facts.path) or _is_known(facts):
        return None
    return _refuse_session("Sign in to change something.")


def _is_known(facts: RequestFacts) -> bool:
    return facts.has_session or facts.has_token


def _refuse_session(sentence: str) -> GuardRefusal:
    return GuardRefusal(RefusalCode.SESSION, HTTPStatus.UNAUTHORIZED, sentence)


def _is_same_origin(facts: RequestFacts) -> bool:
    """Return whether a change comes from a page of this server, or from a program that has the token."""
    if facts.fetch_site is not None and facts.fetch_site != "same-origin":
        return False
    if facts.origin is not None:
        return _has_host(facts.origin, facts.host or "")
    # Every browser sends one of the two with a change. A program sends neither, and has no cookie to be abused.
    return facts.fetch_site is not None or facts.has_token or not facts.has_session


def _has_host(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    # A proxy may end TLS, so that the scheme here differs from that of the page.
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


def parse_host(header: str) -> str:
    """Return the name or address in a Host header, without its port; empty when the header is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.netloc != header or parts.username is not None or parts.hostname is None:
        return ""
    return parts.hostname


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
