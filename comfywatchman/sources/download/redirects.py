"""From an address to the server that gives the bytes: every redirect is looked at, a token stays where it belongs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.address import Address, parse_address, printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool, HttpStream
from comfywatchman.sources.download.responses import read_linked_sha256
from comfywatchman.sources.urls import CIVITAI_HOSTS, HUGGING_FACE_HOSTS, NO_HOSTS, reason_to_refuse

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 6
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_RESOLVE: Final = re.compile(r"(https?://[^/]+/[^/]+/[^/]+/resolve/)([^/]+)(/.*)")
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Where downloads may begin, and with which key.

    Attributes:
        hosts: Further hosts (`github.com`) beside Hugging Face and Civitai; https only, any path.
        local_hosts: Servers of one's own (`127.0.0.1:8080`), which may be private and may speak plain http.
        tokens: Key by origin (`https://civitai.com`); sent as Bearer to that origin and to nobody else.
    """

    hosts: frozenset[str] = NO_HOSTS
    local_hosts: frozenset[str] = NO_HOSTS
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ResolvedDownload:
    """The server that gives the bytes, and what the hub said on the way.

    Attributes:
        stream: Its answer.
        sha256: The hub's own hash of the file; None when it says none.
        size: The hub's own size of the file; None when it says none.
        commit: The commit that the hub took the file from; None when it says none.
        is_elsewhere: Whether it is another origin than the one that was asked.
    """

    stream: HttpStream
    sha256: str | None
    size: int | None
    commit: str | None
    is_elsewhere: bool


def reason_to_refuse_start(url: str, allowed: HostPolicy) -> str | None:
    """Say why a download may not begin at an address; None when it may."""
    try:
        place = parse_address(url)
    except Failure:
        return "it is no plain http or https address"
    if place.netloc in allowed.local_hosts:
        return None
    if place.scheme != "https":
        return "it is not encrypted (https)"
    if place.netloc in HUGGING_FACE_HOSTS | CIVITAI_HOSTS:
        return reason_to_refuse(url)
    if place.netloc not in allowed.hosts:
        return f"{place.host} is not among the hosts that downloads may come from"
    return None


def resolve_redirects(
    url: str, headers: Mapping[str, str], *, connections: ConnectionPool, allowed: HostPolicy
) -> ResolvedDownload:
    """Ask for an address and follow its redirects by hand.

    Args:
        url: Where to begin.
        headers: Sent at every hop; no secrets.
        connections: The door.
        allowed: Where a download may begin, and with which key. Redirects may lead to any public host by https.

    Raises:
        Failure: `download-host-refused` for a hop that may not be taken, `http-unreachable`.
    """
    reason = reason_to_refuse_start(url, allowed)
    if reason is not None:
        raise Failure(
            "download-host-refused",
            f"Nothing is fetched from {printable_url(url)}: {reason}.",
            hint="If you trust that host, add it to [downloads] hosts.",
        )
    place = start = parse_address(url)
    seen: set[str] = set()
    said: dict[str, str] = {}
    while place.url not in seen and len(seen) < _MAX_REDIRECTS:
        seen.add(place.url)
        own = _build_authorization(start, allowed) if place.origin == start.origin else {}
        stream = connections.open(place, {**headers, **own})
        if place.origin == start.origin:
            said |= {name: value for name, value in stream.headers.items() if name.startswith("x-")}
        location = stream.headers.get("location")
        if stream.status not in _REDIRECTS or not location:
            return _build_resolved_download(stream, said, is_elsewhere=place.origin != start.origin)
        with stream:
            stream.read_beginning()
            place = _read_redirect_target(place, location, allowed)
    raise Failure(
        "download-host-refused",
        f"{start.shown} redirects in a circle, or more than {_MAX_REDIRECTS} times.",
        hint="Try again later, or take the file from another source: comfywatchman resolve --refresh",
    )


def pin_to_commit(url: str, commit: str | None) -> str:
    """Return a Hugging Face address with its branch replaced by the commit, so that every piece is of one file."""
    parts = _RESOLVE.fullmatch(url)
    if parts is None or commit is None or not _COMMIT.fullmatch(commit):
        return url
    return f"{parts[1]}{commit}{parts[3]}"


def _read_redirect_target(place: Address, location: str, allowed: HostPolicy) -> Address:
    target = parse_address(location, base=place)
    if target.scheme != "https" and target.netloc not in allowed.local_hosts:
        raise Failure(
            "download-host-refused",
            f"{place.shown} redirects out of encryption, to {target.shown}.",
            hint="Take the file from another source: comfywatchman resolve --refresh",
        )
    if "/login" in target.target.partition("?")[0] and target.netloc == place.netloc:
        raise Failure(
            "download-no-access",
            f"{place.shown} asks for a login.",
            hint="Give a valid key of your account: CIVITAI_API_KEY for Civitai, HF_TOKEN for Hugging Face.",
        )
    return target


def _build_authorization(place: Address, allowed: HostPolicy) -> dict[str, str]:
    token = allowed.tokens.get(place.origin)
    if not token:
        return {}
    if not _TOKEN.fullmatch(token):
        # Said here, because the library's own complaint would quote it.
        raise Failure(
            "download-no-access",
            f"The key for {place.host} holds characters that no HTTP header can carry.",
            hint="Copy the key again, without spaces or line breaks.",
        )
    return {"Authorization": f"Bearer {token}"}


def _build_resolved_download(stream: HttpStream, said: Mapping[str, str], *, is_elsewhere: bool) -> ResolvedDownload:
    size = said.get("x-linked-size", "")
    return ResolvedDownload(
        stream,
        sha256=read_linked_sha256(said),
        size=int(size) if _SIZE.fullmatch(size) else None,
        commit=said.get("x-repo-commit"),
        is_elsewhere=is_elsewhere,
    )
