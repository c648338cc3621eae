"""Choose among several packs that bring a missing class: one that the workflow needs for another class. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from comfywatchman.comfyui.packs.metadata import parse_repository
from comfywatchman.readiness.states import NodeRemedy
from comfywatchman.readiness.status import MissingNode, ProviderPackage


def prefer_needed_packs(missing: Sequence[MissingNode]) -> tuple[MissingNode, ...]:
    """Return the missing classes, with the choice made where exactly one of several packs is needed in any case.

    Args:
        missing: The missing classes of one workflow.
    """
    needed: dict[str, MissingNode] = {}
    for node in missing:
        if node.remedy is NodeRemedy.INSTALL_PACK and len(node.packages) == 1:
            for key in _list_keys(node.packages[0]):
                needed.setdefault(key, node)
    return tuple(_prefer_needed_pack(node, needed) for node in missing)


def _prefer_needed_pack(node: MissingNode, needed: dict[str, MissingNode]) -> MissingNode:
    if node.remedy is not NodeRemedy.CHOOSE_PACK:
        return node
    owners = [package for package in node.packages if _find_user(package, needed) is not None]
    user = _find_user(owners[0], needed) if len(owners) == 1 else None
    if user is None:
        return node
    (package,) = owners
    name = package.title or package.id
    evidence = f"{node.evidence} The workflow needs {name} for {user.class_type} in any case."
    return msgspec.structs.replace(
        node, packages=(package,), fix=user.fix, evidence=evidence, remedy=NodeRemedy.INSTALL_PACK
    )


def _find_user(package: ProviderPackage, needed: dict[str, MissingNode]) -> MissingNode | None:
    """Return the class for which a pack is needed; None when it is needed for none."""
    return next((needed[key] for key in _list_keys(package) if key in needed), None)


def _list_keys(package: ProviderPackage) -> Iterable[str]:
    """Return the names of a pack by which two catalogues may mean the same: its repository, else its id."""
    repository = parse_repository(package.url) if package.url else None
    if repository is not None:
        return (f"repository:{repository}", f"id:{package.id.lower()}")
    return (f"id:{package.id.lower()}",)
