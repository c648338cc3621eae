"""Client of the Comfy Registry: the package that provides a node class, and a package by its id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.base.json_values import as_mapping, as_text
from comfywatchman.sources.class_map import PackageRef

_OK: Final = 200
_NOT_FOUND: Final = 404
_WITHDRAWN: Final = frozenset({"NodeStatusBanned", "NodeStatusDeleted"})


@dataclass(frozen=True, slots=True)
class RegistryResult:
    """The registry's result for one class or package.

    Attributes:
        package: The package; None when the registry has none, or the request failed.
        failure: Why the request failed, so that nothing is known; None when it succeeded.
    """

    package: PackageRef | None = None
    failure: Failure | None = None


def find_registry_provider(session: HttpSession, base_url: str, class_type: str) -> RegistryResult:
    """Return the package that provides a class; a failed request is returned, not raised.

    Args:
        session: HTTP session.
        base_url: `https://api.comfy.org`, or another server with the same API.
        class_type: The class as the workflow writes it.
    """
    url = f"{base_url.rstrip('/')}/comfy-nodes/{quote(class_type, safe='')}/node"
    return _request_package(session, url)


def find_registry_pack(session: HttpSession, base_url: str, pack_id: str) -> RegistryResult:
    """Return a package by its id; a failed request is returned, not raised.

    Args:
        session: HTTP session.
        base_url: As for `find_registry_provider`.
        pack_id: The package's id, such as `comfyui-kjnodes`.
    """
    url = f"{base_url.rstrip('/')}/nodes/{quote(pack_id, safe='')}"
    return _request_package(session, url)


def _request_package(session: HttpSession, url: str) -> RegistryResult:
    try:
        response = session.get(url)
        if response.status == _NOT_FOUND:
            return _read_not_found(response)
        return RegistryResult(package=_parse_package(response.parse_json(), response.url))
    except Failure as failure:
        return RegistryResult(failure=failure)


def _read_not_found(response: HttpResponse) -> RegistryResult:
    """Return "no such package" for a 404 with JSON; a failure for any other, which a proxy may have sent."""
    try:
        HttpResponse(response.url, _OK, response.headers, response.body).parse_json()
    except Failure as failure:
        return RegistryResult(failure=failure)
    return RegistryResult()


def _parse_package(payload: object, url: str) -> PackageRef | None:
    package = as_mapping(payload)
    package_id = as_text(package.get("id"))
    if package_id is None:
        raise Failure("http-body", f"{url} did not respond as the Comfy Registry does.")
    # The registry keeps entries of banned and deleted packages; they must not be proposed.
    if package.get("status") in _WITHDRAWN:
        return None
    return PackageRef(
        id=package_id,
        url=as_text(package.get("repository")),
        title=as_text(package.get("name")),
        evidence="listed in the Comfy Registry",
    )
