"""Follow redirects one by one to the server that sends the file; a token goes to its own origin only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.address import Address, parse_address, printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import REDIRECT_STATUSES, TOKEN_PATTERN
from comfywatchman.base.stream import ConnectionPool, HttpStream
from comfywatchman.sources.download.responses import OK, PARTIAL, RANGE_REFUSED
from comfywatchman.sources.identifiers import parse_commit, parse_size, read_linked_sha256
from comfywatchman.sources.site_responses import FORBIDDEN, UNAUTHORIZED
from comfywatchman.sources.urls import CIVITAI_HOSTS, HUGGING_FACE_HOSTS, NO_HOSTS, reason_to_refuse

_MAX_REDIRECTS: Final = 6
_PUBLIC_STATUSES: Final = frozenset({OK, PARTIAL, RANGE_REFUSED})
"""Statuses of a file that is there for everybody; 416 says that a range begins behind its end."""

_RESOLVE_URL: Final = re.compile(r"(https?://[^/]+/[^/]+/[^/]+/resolve/)([^/]+)(/.*)")


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Hosts that a download may start from, and their tokens.

    Attributes:
        hosts: Hosts (`github.com`) besides Hugging Face and Civitai; https only, any path.
        local_hosts: The user's own servers (`127.0.0.1:8080`), which may be private and may use plain http.
        tokens: Token by origin (`https://civitai.com`); sent as Bearer to that origin only.
        anonymous: Origins that refused their token and sent a file without one; in this run they get none any more.
    """

    hosts: frozenset[str] = NO_HOSTS
    local_hosts: frozenset[str] = NO_HOSTS
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    anonymous: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ResolvedDownload:
    """The response at the end of the redirects, with the facts that the hub sent on the way.

    Attributes:
        stream: The response.
        sha256: The hub's hash of the file; None when it sent none.
        size: The hub's size of the file; None when it sent none.
        commit: The commit that the hub serves the file from; None when it sent none.
        is_other_origin: Whether the response comes from another origin than the first request went to.
    """

    stream: HttpStream
    sha256: str | None
    size: int | None
    commit: str | None
    is_other_origin: bool


def reason_to_refuse_start(url: str, hosts: HostPolicy) -> str | None:
    """Return why a download may not start at a URL; None when it may."""
    try:
        address = parse_address(url)
    except Failure:
        return "it is not a plain http or https address"
    if address.netloc in hosts.local_hosts:
        return None
    if address.scheme != "https":
        return "it is not encrypted (https)"
    if address.netloc in HUGGING_FACE_HOSTS | CIVITAI_HOSTS:
        return reason_to_refuse(url)
    if address.netloc not in hosts.hosts:
        return f"{address.host} is not an allowed download host"
    return None


def resolve_redirects(
    url: str, headers: Mapping[str, str], *, connections: ConnectionPool, hosts: HostPolicy
) -> ResolvedDownload:
    """Request a URL and follow its redirects, each of which is checked; without its token where that is refused.

    A site refuses an expired token even for public files, so such a request is sent once more without it.

    Args:
        url: The first address.
        headers: Sent with every request; no secrets.
        connections: Open connections.
        hosts: Hosts that a download may start from, with their tokens. Redirects may lead to any public host by https.

    Raises:
        Failure: `download-host-refused` for a redirect that must not be followed, `http-unreachable`.
    """
    reason = reason_to_refuse_start(url, hosts)
    if reason is not None:
        raise Failure(
            "download-host-refused",
            f"Refused to download from {printable_url(url)}: {reason}.",
            hint="If you trust that host, add it to [downloads] hosts.",
        )
    start = parse_address(url)
    authorization = _build_authorization(start, hosts)
    resolved = _follow(start, headers, authorization, connections=connections, hosts=hosts)
    is_token_refused = resolved.stream.status == UNAUTHORIZED and not resolved.is_other_origin and bool(authorization)
    if not is_token_refused:
        return resolved
    try:
        anonymous = _follow(start, headers, {}, connections=connections, hosts=hosts)
    except BaseException:
        resolved.stream.close()
        raise
    if anonymous.stream.status in {UNAUTHORIZED, FORBIDDEN}:
        # The file is not public; the first response says what is wrong with the token.
        with anonymous.stream:
            return resolved
    with resolved.stream:
        if anonymous.stream.status in _PUBLIC_STATUSES:
            # Any other status, such as 429, does not show that the token was in the way.
            hosts.anonymous.add(start.origin)
        return anonymous


def _follow(
    start: Address,
    headers: Mapping[str, str],
    authorization: Mapping[str, str],
    *,
    connections: ConnectionPool,
    hosts: HostPolicy,
) -> ResolvedDownload:
    """Request an address and follow its redirects; the authorization goes to its own origin only."""
    address = start
    visited: set[str] = set()
    hub_headers: dict[str, str] = {}
    while address.url not in visited and len(visited) < _MAX_REDIRECTS:
        visited.add(address.url)
        is_other_origin = address.origin != start.origin
        # Neither may the token go to another origin, nor may another origin claim facts in the hub's name.
        stream = connections.open(address, {**headers, **({} if is_other_origin else authorization)})
        if not is_other_origin:
            hub_headers.update(_select_custom_headers(stream.headers))
        location = stream.headers.get("location")
        if stream.status not in REDIRECT_STATUSES or not location:
            return _build_resolved_download(stream, hub_headers, is_other_origin=is_other_origin)
        with stream:
            # Reading the body to its end lets the connection be used again.
            stream.read_beginning()
            address = _read_redirect_target(address, location, hosts)
    raise Failure(
        "download-host-refused",
        f"{start.printable} redirects in a loop, or more than {_MAX_REDIRECTS} times.",
        hint="Try again later, or use another source: comfywatchman resolve --refresh",
    )


def pin_to_commit(url: str, commit: str | None) -> str:
    """Return a Hugging Face URL with its branch replaced by a commit, so that all parts are of the same file."""
    match = _RESOLVE_URL.fullmatch(url)
    # The commit may come from a note on the disk.
    valid_commit = parse_commit(commit)
    if match is None or valid_commit is None:
        return url
    return f"{match[1]}{valid_commit}{match[3]}"


def _select_custom_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-")}


def _read_redirect_target(address: Address, location: str, hosts: HostPolicy) -> Address:
    target = parse_address(location, base=address)
    if target.scheme != "https" and target.netloc not in hosts.local_hosts:
        raise Failure(
            "download-host-refused",
            f"{address.printable} redirects to an unencrypted address, {target.printable}.",
            hint="Use another source: comfywatchman resolve --refresh",
        )
    path = target.target.partition("?")[0]
    if "/login" in path and target.netloc == address.netloc:
        raise Failure(
            "download-no-access",
            f"{address.printable} requires a login.",
            hint="Set a valid key of your account: CIVITAI_API_KEY for Civitai, HF_TOKEN for Hugging Face.",
        )
    return target


def _build_authorization(address: Address, hosts: HostPolicy) -> dict[str, str]:
    token = hosts.tokens.get(address.origin)
    if not token or address.origin in hosts.anonymous:
        return {}
    if not TOKEN_PATTERN.fullmatch(token):
        # Checked here, because the error of the HTTP library would quote the token.
        raise Failure(
            "download-no-access",
            f"The key for {address.host} contains characters that HTTP headers do not allow.",
            hint="Copy the key again, without spaces or line breaks.",
        )
    return {"Authorization": f"Bearer {token}"}


def _build_resolved_download(
    stream: HttpStream, hub_headers: Mapping[str, str], *, is_other_origin: bool
) -> ResolvedDownload:
    return ResolvedDownload(
        stream,
        sha256=read_linked_sha256(hub_headers),
        size=parse_size(hub_headers.get("x-linked-size")),
        commit=parse_commit(hub_headers.get("x-repo-commit")),
        is_other_origin=is_other_origin,
    )
