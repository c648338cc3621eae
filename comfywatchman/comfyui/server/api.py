"""HTTP client for a running ComfyUI: its identity (`/system_stats`) and its nodes (`/object_info`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeGuard
from urllib.parse import urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession, is_listening
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.object_info import LiveNodes, read_object_info

MAX_OBJECT_INFO_BYTES: Final = 256 << 20
_BASE_FLAG: Final = "--base-directory"
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
    return read_object_info(payload, folders, version=running.version)


def is_server_of(running: RunningComfyUI, installation: Installation) -> bool | None:
    """Return whether a server runs the watched installation, by its arguments; None when they do not show it.

    `--base-directory` decides; without it the folder of an absolute `main.py` does.
    """
    # The working directory of the server is unknown, so a relative path identifies nothing.
    base = _find_option(running.argv, _BASE_FLAG)
    program = Path(running.argv[0]) if running.argv else Path()
    if base is not None and Path(base).is_absolute():
        return _is_same(Path(base), installation.base)
    if base is None and program.is_absolute():
        return _is_same(program.parent, installation.root)
    return None


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


def _find_option(argv: Sequence[str], name: str) -> str | None:
    for index, argument in enumerate(argv):
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
        if argument == name and index + 1 < len(argv):
            return argv[index + 1]
    return None


def _is_same(path: Path, folder: Path) -> bool:
    try:
        return path.resolve() == folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)
