"""The declared requirements with their sources, and pyproject.toml with only some of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tomlkit
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.truth import BASE_GROUP, add_constraints, parse_groups
from comfywatchman.governance.uv.requirement import PIN, group_source, parse_package_name, parse_requirement


@dataclass(frozen=True, slots=True)
class DeclaredRequirement:
    """A declared requirement.

    Attributes:
        owner: Who declares it: `base`, `node <id>`, `group <name>`, or `pin` for a constraint.
        text: The requirement line.
        group: Its dependency group; empty for `[project] dependencies` and for a constraint.
    """

    owner: str
    text: str
    group: str = ""

    @property
    def name(self) -> str:
        """The normalised name of the package; empty for an invalid line."""
        return parse_package_name(self.text)

    @property
    def edge(self) -> RequirementEdge:
        """The requirement as it is recorded."""
        return RequirementEdge(source=self.owner, requirement=self.text)

    def without_bounds(self) -> DeclaredRequirement | None:
        """Return the requirement for any version; None when it has neither bounds nor an address."""
        requirement = parse_requirement(self.text)
        if requirement is None or not (requirement.specifier or requirement.url):
            return None
        requirement.specifier, requirement.url = SpecifierSet(), None
        return replace(self, text=str(requirement))


def parse_declared(project: str, constraints: Iterable[str] = ()) -> tuple[DeclaredRequirement, ...]:
    """Return the requirements in a pyproject.toml, those of ComfyUI first, then the constraints.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    groups = parse_groups(project)
    declared = [DeclaredRequirement(BASE_GROUP, text) for text in _parse_project_dependencies(project)]
    for group in sorted(groups, key=lambda name: name != BASE_GROUP):
        declared += [DeclaredRequirement(group_source(group), text, group) for text in groups[group]]
    declared += [DeclaredRequirement(PIN, text) for text in constraints]
    return tuple(declared)


def render_subset(project: str, requirements: Sequence[DeclaredRequirement]) -> str:
    """Return a pyproject.toml that declares only some requirements; everything else in it stays.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    groups = parse_groups(project)  # raises when it is not TOML
    document = tomlkit.parse(project)
    # Any: tomlkit types an item of a document as a union that allows no access.
    table: Any = document.get("dependency-groups", {})
    for group in groups:
        table[group] = [requirement.text for requirement in requirements if requirement.group == group]
    if _parse_project_dependencies(project):
        ungrouped = [requirement for requirement in requirements if not requirement.group and requirement.owner != PIN]
        project_table: Any = document["project"]
        project_table["dependencies"] = [requirement.text for requirement in ungrouped]
    text = tomlkit.dumps(document)
    pins = [requirement.text for requirement in requirements if requirement.owner == PIN]
    return add_constraints(text, pins) if pins else text


def select_named(
    declared: Iterable[DeclaredRequirement], edges: Sequence[RequirementEdge]
) -> tuple[DeclaredRequirement, ...]:
    """Return the declared requirements that uv named.

    They are matched by owner and package, as uv writes versions and ids in its own way.
    """
    named = {(_owner_key(edge.source), parse_package_name(edge.requirement)) for edge in edges}
    return tuple(requirement for requirement in declared if (_owner_key(requirement.owner), requirement.name) in named)


def restore_owner_names(
    edges: Iterable[RequirementEdge], declared: Iterable[DeclaredRequirement]
) -> tuple[RequirementEdge, ...]:
    """Return edges with owners as declared: uv writes ids of nodes in lower case, with `-` for `_`."""
    owners = {_owner_key(requirement.owner): requirement.owner for requirement in declared}
    restored = []
    for edge in edges:
        owner = owners.get(_owner_key(edge.source), edge.source)
        restored.append(RequirementEdge(source=owner, requirement=edge.requirement))
    return tuple(restored)


def _owner_key(owner: str) -> tuple[str, str]:
    kind, _, name = owner.partition(" ")
    return kind, canonicalize_name(name)


def _parse_project_dependencies(project: str) -> list[str]:
    dependencies = parse_toml(project).get("project", {}).get("dependencies", [])
    return [text for text in dependencies if isinstance(text, str)]
