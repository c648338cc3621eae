"""Requirement lines (PEP 508) and their sources: ComfyUI, a node, a group, a pin or a package. Pure."""

from __future__ import annotations

from typing import Final

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.truth import BASE_GROUP, NODE_PREFIX

PIN: Final = "pin"
"""The source of a constraint or override; uv prints these as if a package required them."""


def parse_requirement(line: str) -> Requirement | None:
    """Return the parsed line; None when it is invalid."""
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def parse_package_name(line: str) -> str:
    """Return the normalised package name of a line; empty when the line is invalid."""
    requirement = parse_requirement(line)
    return "" if requirement is None else canonicalize_name(requirement.name)


def group_source(group: str) -> str:
    """Return the source of a dependency group's lines: `base`, `node <id>` or `group <name>`."""
    if group == BASE_GROUP:
        return BASE_GROUP
    if group.startswith(NODE_PREFIX):
        return node_source(group.removeprefix(NODE_PREFIX))
    return f"group {group}"


def node_source(node_id: str) -> str:
    """Return the source of a node's requirement lines: `node <id>`."""
    return f"node {node_id}"


def is_root(edge: RequirementEdge) -> bool:
    """Return whether a requirement is declared by ComfyUI, a node or another group, not by a package."""
    return edge.source == BASE_GROUP or edge.source.startswith(("node ", "group "))


def is_from_package(edge: RequirementEdge) -> bool:
    """Return whether an installed package requires it."""
    return edge.source != PIN and not is_root(edge)


def build_marker_environment(python_version: str) -> dict[str, str]:
    """Return the values of environment markers for an interpreter of this machine, by its version (`3.11.7`)."""
    markers = {name: str(value) for name, value in default_environment().items()}
    markers["python_full_version"] = python_version
    markers["python_version"] = ".".join(python_version.split(".")[:2])
    return markers
