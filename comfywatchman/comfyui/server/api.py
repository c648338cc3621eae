"""A running ComfyUI, asked over HTTP: who it is, and which nodes it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession, is_listening
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.object_info import LiveNodes, read_object_info

MAX_OBJECT_INFO_BYTES: Final = 256 << 20
_BASE_FLAG: Final = "--base-directory"
_PORTS: Final = {"http": 80, "https": 443}


class RunningComfyUI(msgspec.Struct, frozen=True):
    """A server that answered.

    Attributes:
        url: Its address.
        version: What it calls itself; None when it does not say.
        argv: The arguments that it was started with.
        replacements: Old class names, each with the class that the server puts in its place.
    """

    url: str
    version: str | None
    argv: tuple[str, ...]
    replacements: dict[str, str]

    def find_replaced(self, classes: Collection[str]) -> frozenset[str]:
        """Return old names that still run: those whose replacement the server has."""
        return frozenset(old for old, new in self.replacements.items() if new in classes)


def probe_server(url: str, *, timeout_seconds: float = 10.0) -> RunningComfyUI | None:
    """Ask a server who it is; None when nobody listens there, which costs less than a millisecond on this machine.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`: somebody listens, but does not answer as ComfyUI.
    """
    if not _has_listener(url):
        return None
    with HttpSession(timeout_seconds=timeout_seconds) as session:
        stats = session.get_json(_endpoint_url(url, "system_stats"))
        system = stats.get("system") if isinstance(stats, dict) else None
        if not isinstance(stats, dict) or not isinstance(system, dict):
            raise _not_comfyui_failure(f"{_endpoint_url(url, 'system_stats')} did not answer as a ComfyUI does.")
        return RunningComfyUI(
            url=url,
            version=_as_text(system.get("comfyui_version")),
            argv=tuple(part for part in _as_list(system.get("argv")) if isinstance(part, str)),
            replacements=_fetch_replacements(session, url),
        )


def fetch_nodes(
    running: RunningComfyUI, folders: Mapping[str, Collection[str]], *, timeout_seconds: float = 30.0
) -> LiveNodes:
    """Ask a server for all its nodes (about 1.6 MB).

    Args:
        running: The server.
        folders: File names by canonical model folder, as `read_object_info` wants them.
        timeout_seconds: Time for the whole answer; building it takes the server up to a second.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    with HttpSession(timeout_seconds=timeout_seconds, max_bytes=MAX_OBJECT_INFO_BYTES) as session:
        payload = session.get_json(_endpoint_url(running.url, "object_info"))
    if not isinstance(payload, dict) or not payload:
        raise _not_comfyui_failure(f"{_endpoint_url(running.url, 'object_info')} did not list any node.")
    return read_object_info(payload, folders, version=running.version)


def is_server_of(running: RunningComfyUI, installation: Installation) -> bool | None:
    """Say whether a server is the watched installation, by its arguments; None when they do not tell.

    `--base-directory` decides; without it the folder of an absolute `main.py` does.
    """
    base = _find_option(running.argv, _BASE_FLAG)
    if base is not None:
        return _is_same(base, installation.base) if Path(base).is_absolute() else None
    program = Path(running.argv[0]) if running.argv else Path()
    if not program.is_absolute():
        return None
    return _is_same(str(program.parent), installation.root)


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


def _fetch_replacements(session: HttpSession, url: str) -> dict[str, str]:
    """Return old and new class names; only the first replacement of a class is ever used. Older servers have none."""
    answer = session.get(_endpoint_url(url, "node_replacements"))
    if answer.status != 200:  # noqa: PLR2004 - OK; a server without the route says 404
        return {}
    try:
        entries = answer.parse_json()
    except Failure:
        return {}
    found: dict[str, str] = {}
    for old, news in entries.items() if isinstance(entries, dict) else ():
        first = _as_list(news)[0] if _as_list(news) else None
        new = first.get("new_node_id") if isinstance(first, dict) else None
        if isinstance(new, str):
            found[old] = new
    return found


def _find_option(argv: Sequence[str], name: str) -> str | None:
    for place, part in enumerate(argv):
        if part.startswith(f"{name}="):
            return part.removeprefix(f"{name}=")
        if part == name and place + 1 < len(argv):
            return argv[place + 1]
    return None


def _is_same(path: str, folder: Path) -> bool:
    try:
        return Path(path).resolve() == folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
