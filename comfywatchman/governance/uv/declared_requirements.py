"""The declared requirements as lines with an owner, and pyproject.toml with only some of them. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from comfywatchman.governance.store.records import RequirementEdge
from comfywatchman.governance.store.truth import BASE_GROUP, NODE_PREFIX, add_constraints, parse_groups
from comfywatchman.governance.uv.error_parser import PIN


@dataclass(frozen=True, slots=True)
class DeclaredRequirement:
    """A declared requirement.

    Attributes:
        owner: Who asks: `base`, `node <id>`, `group <name>`, or `pin` for a constraint.
        text: The requirement line.
        group: Its dependency group; empty for `[project] dependencies` and for a constraint.
    """

    owner: str
    text: str
    group: str = ""

    @property
    def name(self) -> str:
        """The normalised name of the package; empty for a line that is no requirement."""
        requirement = _parse_requirement(self.text)
        return "" if requirement is None else canonicalize_name(requirement.name)

    @property
    def edge(self) -> RequirementEdge:
        """The line as records hold it."""
        return RequirementEdge(source=self.owner, requirement=self.text)

    def without_bounds(self) -> DeclaredRequirement | None:
        """Return the line without bounds or address; None when it has none of them."""
        requirement = _parse_requirement(self.text)
        if requirement is None or not (requirement.specifier or requirement.url):
            return None
        requirement.specifier, requirement.url = SpecifierSet(), None
        return replace(self, text=str(requirement))


def parse_declared(project: str, constraints: Iterable[str] = ()) -> tuple[DeclaredRequirement, ...]:
    """Return what a text of pyproject.toml declares, that of ComfyUI first, then the constraints.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    grouped = parse_groups(project)
    found = [DeclaredRequirement(BASE_GROUP, text) for text in _parse_project_dependencies(project)]
    for group, texts in sorted(grouped.items(), key=lambda item: item[0] != BASE_GROUP):
        found += [DeclaredRequirement(_group_owner(group), text, group) for text in texts]
    return (*found, *(DeclaredRequirement(PIN, text) for text in constraints))


def render_subset(project: str, lines: Sequence[DeclaredRequirement]) -> str:
    """Return a text of pyproject.toml that declares only these lines; everything else in it stays.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    kept = parse_groups(project)  # raises for what is no TOML
    document = tomlkit.parse(project)
    table: Any = document.get("dependency-groups", {})
    for group in kept:
        table[group] = [line.text for line in lines if line.group == group]
    if _parse_project_dependencies(project):
        own: Any = document["project"]
        own["dependencies"] = [line.text for line in lines if not line.group and line.owner != PIN]
    pins = [line.text for line in lines if line.owner == PIN]
    return add_constraints(tomlkit.dumps(document), pins) if pins else tomlkit.dumps(document)


def select_named(
    lines: Iterable[DeclaredRequirement], edges: Sequence[RequirementEdge]
) -> tuple[DeclaredRequirement, ...]:
    """Return the lines that uv named, going by owner and package: it writes versions and ids in its own way."""
    named = {(_owner_key(edge.source), _package_name(edge.requirement)) for edge in edges}
    return tuple(line for line in lines if (_owner_key(line.owner), line.name) in named)


def restore_owner_names(
    edges: Iterable[RequirementEdge], lines: Iterable[DeclaredRequirement]
) -> Iterator[RequirementEdge]:
    """Give each edge the owner as it is declared: uv writes ids of nodes in lower case, with `-` for `_`."""
    owners = {_owner_key(line.owner): line.owner for line in lines}
    for edge in edges:
        yield RequirementEdge(source=owners.get(_owner_key(edge.source), edge.source), requirement=edge.requirement)


def _group_owner(group: str) -> str:
    if group == BASE_GROUP:
        return BASE_GROUP
    return f"node {group.removeprefix(NODE_PREFIX)}" if group.startswith(NODE_PREFIX) else f"group {group}"


def _owner_key(owner: str) -> tuple[str, str]:
    kind, _, name = owner.partition(" ")
    return kind, canonicalize_name(name)


def _package_name(text: str) -> str:
    return DeclaredRequirement("", text).name


def _parse_project_dependencies(project: str) -> list[str]:
    found = tomllib.loads(project).get("project", {}).get("dependencies", [])
    return [text for text in found if isinstance(text, str)]


def _parse_requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None
