from __future__ import annotations

import tomllib

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.uv.declared_requirements import (
    DeclaredRequirement,
    parse_declared,
    render_subset,
    restore_owner_names,
    select_named,
)

PROJECT = truth.render_project(python_version="3.11.7", marker="sys_platform == 'linux'", base=["numpy<2"])
WITH_OWN = truth.set_group(
    PROJECT.replace("dependencies = []", 'dependencies = ["six>=1", "attrs"]'), "node-My_Pack", ["opencv", "numpy>=2"]
)


def test_requirements_have_owners_and_comfyui_comes_first() -> None:
    assert parse_declared(truth.set_group(WITH_OWN, "dev", ["pytest"]), ["numpy==2"]) == (
        DeclaredRequirement("base", "six>=1"),
        DeclaredRequirement("base", "attrs"),
        DeclaredRequirement("base", "numpy<2", "base"),
        DeclaredRequirement("node My_Pack", "numpy>=2", "node-My_Pack"),
        DeclaredRequirement("node My_Pack", "opencv", "node-My_Pack"),
        DeclaredRequirement("group dev", "pytest", "dev"),
        DeclaredRequirement("pin", "numpy==2"),
    )


def test_subset_declares_only_its_requirements() -> None:
    lines = parse_declared(WITH_OWN, ["numpy==2"])
    part = tomllib.loads(render_subset(WITH_OWN, [lines[0], lines[3], lines[-1]]))
    assert part["project"]["dependencies"] == ["six>=1"]
    assert part["dependency-groups"] == {"base": [], "node-My_Pack": ["numpy>=2"]}
    assert part["tool"]["uv"]["constraint-dependencies"] == ["numpy==2"]
    assert part["tool"]["uv"]["required-version"] == ">=0.12"


def test_all_requirements_declare_the_same() -> None:
    for text in (WITH_OWN, PROJECT):
        assert tomllib.loads(render_subset(text, parse_declared(text))) == tomllib.loads(text)


def test_subset_of_a_project_without_groups() -> None:
    bare = '[project]\nname = "x"\ndependencies = ["a", "b"]\n'
    assert tomllib.loads(render_subset(bare, parse_declared(bare)[:1]))["project"]["dependencies"] == ["a"]


def test_invalid_toml_is_reported() -> None:
    with pytest.raises(Failure) as caught:
        parse_declared("[[[")
    assert caught.value.code == "gov-truth-damaged"


def test_named_requirements_are_found_by_uv_names() -> None:
    lines = parse_declared(WITH_OWN)
    edges = [
        RequirementEdge(source="node my-pack", requirement="NumPy>=2.0"),
        RequirementEdge(source="base", requirement="opencv"),
    ]
    assert select_named(lines, edges) == (DeclaredRequirement("node My_Pack", "numpy>=2", "node-My_Pack"),)
    assert list(restore_owner_names(edges, lines)) == [
        RequirementEdge(source="node My_Pack", requirement="NumPy>=2.0"),
        RequirementEdge(source="base", requirement="opencv"),
    ]


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("numpy<2", "numpy"),
        ("uvicorn[standard]>=0.2; python_version > '3'", 'uvicorn[standard]; python_version > "3"'),
        ("numpy @ https://127.0.0.1/n.whl", "numpy"),
        ("numpy", None),
        ("-r other.txt", None),
    ],
)
def test_removing_bounds_keeps_extras_and_marker(text: str, free: str | None) -> None:
    found = DeclaredRequirement("base", text, "base").without_bounds()
    assert (None if found is None else found.text) == free


def test_edge_has_owner_and_text() -> None:
    assert DeclaredRequirement("node a", "numpy<2", "node-a").edge == RequirementEdge(
        source="node a", requirement="numpy<2"
    )


def test_invalid_line_has_no_name() -> None:
    assert (DeclaredRequirement("base", "-r x").name, DeclaredRequirement("base", "A_b>1").name) == ("", "a-b")
