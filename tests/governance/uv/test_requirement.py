from __future__ import annotations

from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.uv.requirement import (
    group_source,
    is_from_package,
    is_root,
    parse_package_name,
    parse_requirement,
)


def test_package_name_is_normalised_and_empty_for_invalid_lines() -> None:
    assert parse_package_name("My_Pack[extra]>=2; python_version > '3'") == "my-pack"
    assert parse_package_name("two words") == ""
    assert parse_requirement("two words") is None


def test_group_source_names_comfyui_nodes_and_other_groups() -> None:
    assert [group_source(name) for name in ("base", "node-a", "tests")] == ["base", "node a", "group tests"]


def test_sources_of_declared_requirements_are_roots() -> None:
    sources = ("base", "node a", "group tests", "pin", "numlet>=2")
    edges = [RequirementEdge(source=source, requirement="x") for source in sources]
    assert [edge.source for edge in edges if is_root(edge)] == ["base", "node a", "group tests"]
    assert [edge.source for edge in edges if is_from_package(edge)] == ["numlet>=2"]
