"""The Comfy Registry, asked which package brings a class, and where a package is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpAnswer, Session
from comfywatchman.sources.class_map import PackageRef

_OK: Final = 200
_NOT_FOUND: Final = 404
_WITHDRAWN: Final = frozenset({"NodeStatusBanned", "NodeStatusDeleted"})


@dataclass(frozen=True, slots=True)
class RegistryAnswer:
    """What the registry said of one class or package.

    Attributes:
        package: Who brings it, or the package; None when the registry knows nobody, or was not to be had.
        failure: Why the registry gave no answer, so that nothing is known; None when it answered.
    """

    package: PackageRef | None = None
    failure: Failure | None = None


def registry_owner(session: Session, base_url: str, class_type: str) -> RegistryAnswer:
    """Ask the registry who brings a class; a class that it does not know is an answer, an error is none.

    Args:
        session: Bounded connections.
        base_url: `https://api.comfy.org`, or another server that speaks like it.
        class_type: The class as the workflow writes it.
    """
    url = f"{base_url.rstrip('/')}/comfy-nodes/{quote(class_type, safe='')}/node"
    return _asked(session, url)


def registry_pack(session: Session, base_url: str, pack_id: str) -> RegistryAnswer:
    """Ask the registry for a package by its id; one that it does not know is an answer, an error is none.

    Args:
        session: Bounded connections.
        base_url: As for `registry_owner`.
        pack_id: The package's id, such as `comfyui-kjnodes`.
    """
    url = f"{base_url.rstrip('/')}/nodes/{quote(pack_id, safe='')}"
    return _asked(session, url)


def _asked(session: Session, url: str) -> RegistryAnswer:
    try:
        answer = session.get(url)
        if answer.status == _NOT_FOUND:
            return _unknown(answer)
        return RegistryAnswer(package=_package(answer.parsed(), answer.url))
    except Failure as failure:
        return RegistryAnswer(failure=failure)


def _unknown(answer: HttpAnswer) -> RegistryAnswer:
    """Take a 404 for "unknown class" only when the registry itself says it: a strange server's page is no answer."""
    try:
        HttpAnswer(answer.url, _OK, answer.headers, answer.body).parsed()
    except Failure as failure:
        return RegistryAnswer(failure=failure)
    return RegistryAnswer()


def _package(payload: object, url: str) -> PackageRef | None:
    if not isinstance(payload, dict) or not _text(payload, "id"):
        raise Failure("http-body", f"{url} did not answer as the Comfy Registry does.")
    if payload.get("status") in _WITHDRAWN:
        return None
    return PackageRef(
        id=payload["id"],
        url=_text(payload, "repository"),
        title=_text(payload, "name"),
        evidence="listed in the Comfy Registry",
    )


def _text(payload: dict[str, Any], name: str) -> str | None:
    value = payload.get(name)
    return value if isinstance(value, str) and value else None
