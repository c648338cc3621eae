"""The Comfy Registry, asked which package brings a class, and where a package is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.class_map import PackageRef

_OK: Final = 200
_NOT_FOUND: Final = 404
_WITHDRAWN: Final = frozenset({"NodeStatusBanned", "NodeStatusDeleted"})


@dataclass(frozen=True, slots=True)
class RegistryResult:
    """What the registry said of one class or package.

    Attributes:
        package: Who brings it, or the package; None when the registry knows nobody, or was not to be had.
        failure: Why the registry gave no answer, so that nothing is known; None when it answered.
    """

    package: PackageRef | None = None
    failure: Failure | None = None


def find_registry_provider(session: HttpSession, base_url: str, class_type: str) -> RegistryResult:
    """Ask the registry who brings a class; a class that it does not know is an answer, an error is none.

    Args:
        session: Bounded connections.
        base_url: `https://api.comfy.org`, or another server that speaks like it.
        class_type: The class as the workflow writes it.
    """
    url = f"{base_url.rstrip('/')}/comfy-nodes/{quote(class_type, safe='')}/node"
    return _request_package(session, url)


def find_registry_pack(session: HttpSession, base_url: str, pack_id: str) -> RegistryResult:
    """Ask the registry for a package by its id; one that it does not know is an answer, an error is none.

    Args:
        session: Bounded connections.
        base_url: As for `registry_owner`.
        pack_id: The package's id, such as `comfyui-kjnodes`.
    """
    url = f"{base_url.rstrip('/')}/nodes/{quote(pack_id, safe='')}"
    return _request_package(session, url)


def _request_package(session: HttpSession, url: str) -> RegistryResult:
    try:
        answer = session.get(url)
        if answer.status == _NOT_FOUND:
            return _read_not_found(answer)
        return RegistryResult(package=_parse_package(answer.parse_json(), answer.url))
    except Failure as failure:
        return RegistryResult(failure=failure)


def _read_not_found(answer: HttpResponse) -> RegistryResult:
    """Take a 404 for "unknown class" only when the registry itself says it: a strange server's page is no answer."""
    try:
        HttpResponse(answer.url, _OK, answer.headers, answer.body).parse_json()
    except Failure as failure:
        return RegistryResult(failure=failure)
    return RegistryResult()


def _parse_package(payload: object, url: str) -> PackageRef | None:
    if not isinstance(payload, dict) or not _get_text(payload, "id"):
        raise Failure("http-body", f"{url} did not answer as the Comfy Registry does.")
    if payload.get("status") in _WITHDRAWN:
        return None
    return PackageRef(
        id=payload["id"],
        url=_get_text(payload, "repository"),
        title=_get_text(payload, "name"),
        evidence="listed in the Comfy Registry",
    )


def _get_text(payload: dict[str, Any], name: str) -> str | None:
    value = payload.get(name)
    return value if isinstance(value, str) and value else None
