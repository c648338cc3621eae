"""HTTP client for a running ComfyUI: its version and arguments (`/system_stats`) and its nodes (`/object_info`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, TypeGuard
from urllib.parse import urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession, is_listening
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.base.text import shorten_text
from comfywatchman.comfyui.server.object_info import LiveNodes, find_malformed_entry, read_object_info

MAX_OBJECT_INFO_BYTES: Final = 256 << 20
_PORTS: Final = {"http": 80, "https": 443}
_OK: Final = 200
_NOT_FOUND: Final = 404


class RunningComfyUI(msgspec.Struct, frozen=True):
    """A server that answered.

    Attributes:
        url: Its address.
        version: The version that it reports; None when it reports none.
        argv: The arguments that it was started with.
        replacements: New class names by the old name that the server replaces; None for a version that does not.
    """

    url: str
    version: str | None
    argv: tuple[str, ...]
    replacements: dict[str, str] | None


def probe_server(url: str, *, timeout_seconds: float = 10.0) -> RunningComfyUI | None:
    """Identify the server at an address; None if nothing listens there.

    Without a listener on this machine that takes less than a millisecond.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`: a listener that does not answer as ComfyUI.
    """
    if not _has_listener(url):
        return None
    with HttpSession(timeout_seconds=timeout_seconds) as session:
        stats = session.get_json(_endpoint_url(url, "system_stats"))
        system = as_mapping(stats).get("system")
        if not isinstance(system, dict):
            raise _not_comfyui_failure(f"{_endpoint_url(url, 'system_stats')} did not answer as a ComfyUI does.")
        return RunningComfyUI(
            url=url,
            version=as_text(system.get("comfyui_version")) or None,
            argv=tuple(filter(_is_text, as_list(system.get("argv")))),
            replacements=_fetch_replacements(session, url),
        )


def fetch_nodes(
    running: RunningComfyUI, folders: Mapping[str, Collection[str]], *, timeout_seconds: float = 30.0
) -> LiveNodes:
    """Fetch all nodes of a server (about 1.6 MB).

    Args:
        running: The server.
        folders: File names by canonical model folder, for `read_object_info`.
        timeout_seconds: Time for the whole answer; the server needs up to a second to build it.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    with HttpSession(timeout_seconds=timeout_seconds, max_bytes=MAX_OBJECT_INFO_BYTES) as session:
        payload = session.get_json(_endpoint_url(running.url, "object_info"))
    if not isinstance(payload, dict) or not payload:
        raise _not_comfyui_failure(f"{_endpoint_url(running.url, 'object_info')} did not list any node.")
    malformed = find_malformed_entry(payload)
    if malformed is not None:
        reason = f"does not describe the node class {shorten_text(malformed)} as ComfyUI does"
        raise _not_comfyui_failure(f"{_endpoint_url(running.url, 'object_info')} {reason}.")
    return read_object_info(payload, folders, version=running.version)


def _not_comfyui_failure(reason: str) -> Failure:
    return Failure("http-body", reason, hint="Another program may listen there: correct [comfyui] url.")


def _has_listener(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return False
    return bool(parts.hostname) and is_listening(parts.hostname or "", port)


def _endpoint_url(url: str, route: str) -> str:
    return f"{url.rstrip('/')}/{route}"


def _fetch_replacements(session: HttpSession, url: str) -> dict[str, str] | None:
    """Return new class names by old name; None for an older server, which has no such route."""
    response = session.get(_endpoint_url(url, "node_replacements"))
    if response.status == _NOT_FOUND:
        return None
    if response.status != _OK:
        return {}
    try:
        entries = response.parse_json()
    except Failure:
        return {}
    replacements: dict[str, str] = {}
    for old, candidates in as_mapping(entries).items():
        # ComfyUI only ever uses the first replacement of a class.
        for candidate in as_list(candidates)[:1]:
            new = as_mapping(candidate).get("new_node_id")
            if isinstance(new, str):
                replacements[old] = new
    return replacements


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)
