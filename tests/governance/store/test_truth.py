from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store import truth

MARKER = "sys_platform == 'linux' and platform_machine == 'x86_64'"
PROJECT = truth.render_project(
    python_version="3.11.7", marker=MARKER, base=["numlet>=1", "torchlet; sys_platform == 'linux'"]
)
LINES = st.lists(
    st.sampled_from(["a", "b==1", "c[x]>=2", "d @ https://host/d.whl", "e; python_version > '3'"]), unique=True
)
IDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
SCOPED = {"package": {"name": "cvlet"}, "dependencies": ["numlet>=1"]}


def test_new_project_has_one_python_and_one_platform() -> None:
    project = tomllib.loads(PROJECT)
    assert project["project"]["requires-python"] == ">=3.11.7,<3.12"
    assert project["tool"]["uv"]["environments"] == [MARKER]
    assert project["dependency-groups"]["base"] == ["numlet>=1", "torchlet; sys_platform == 'linux'"]


@given(IDS, LINES)
@pytest.mark.slow
def test_added_and_removed_group_leaves_the_same_bytes(node_id: str, lines: list[str]) -> None:
    group = truth.node_group(node_id)
    added = truth.set_group(PROJECT, group, lines)
    assert truth.parse_groups(added)[group] == tuple(sorted(lines))
    assert truth.remove_group(added, group) == PROJECT


@pytest.mark.slow
@given(st.permutations(["node-a", "node-b", "node-c"]))
def test_groups_can_be_removed_in_any_order(order: list[str]) -> None:
    text = PROJECT
    for group in ("node-a", "node-b", "node-c"):
        text = truth.set_group(text, group, ["numlet"])
    for group in order:
        text = truth.remove_group(text, group)
    assert text == PROJECT


def test_user_text_stays() -> None:
    text = PROJECT.replace("\n[tool.uv]", '\n# mine\nmine = ["plainlet"] # why\n\n[tool.uv]')
    added = truth.set_group(text, "node-a", ["numlet"])
    assert '# mine\nmine = ["plainlet"] # why\n' in added
    assert truth.remove_group(added, "node-a") == text


def test_group_names_are_compared_normalised() -> None:
    text = truth.set_group(truth.set_group(PROJECT, "node-My_Pack", ["a"]), "node-my-pack", ["b"])
    assert truth.parse_groups(text) == {**truth.parse_groups(PROJECT), "node-My_Pack": ("b",)}
    assert truth.remove_group(text, "node-my.pack") == PROJECT


def test_removing_a_missing_group_changes_nothing() -> None:
    assert truth.remove_group(PROJECT, "node-a") == PROJECT


def test_overrides_are_set_and_removed() -> None:
    text = truth.set_overrides(PROJECT, ["numlet==1", SCOPED])
    assert truth.parse_overrides(text) == ("numlet==1", SCOPED)
    assert truth.set_overrides(text, []) == PROJECT


def test_group_named_overrides_is_converted() -> None:
    text = truth.set_overrides(truth.set_group(PROJECT, "overrides", ["numlet==1"]), ["torchlet==2"])
    moved = truth.convert_overrides_group(text)
    assert truth.parse_overrides(moved) == ("torchlet==2", "numlet==1")
    assert "overrides" not in truth.parse_groups(moved)
    assert truth.convert_overrides_group(PROJECT) == PROJECT


def test_constraints_are_added_to_existing_ones() -> None:
    once = truth.add_constraints(PROJECT, ["numlet==1"])
    assert tomllib.loads(truth.add_constraints(once, ["a==1"]))["tool"]["uv"]["constraint-dependencies"] == [
        "numlet==1",
        "a==1",
    ]


def test_missing_tables_are_created() -> None:
    bare = '[project]\nname = "x"\nversion = "0"\n'
    text = truth.set_overrides(truth.set_group(bare, "node-a", ["b"]), ["c==1"])
    assert truth.parse_groups(text) == {"node-a": ("b",)}
    assert truth.parse_overrides(text) == ("c==1",)


def test_invalid_toml_is_refused() -> None:
    with pytest.raises(Failure) as caught:
        truth.parse_groups("[project")
    assert caught.value.code == "gov-truth-damaged"


def test_python_version_is_updated_unless_it_is_a_range() -> None:
    other = truth.set_python(PROJECT, "3.12.1")
    assert tomllib.loads(other)["project"]["requires-python"] == ">=3.12.1,<3.13"
    assert truth.set_python(other, "3.11.7") == PROJECT
    assert truth.set_python(PROJECT, "3.11.7") == PROJECT
    own = PROJECT.replace(">=3.11.7,<3.12", ">=3.10")
    assert truth.set_python(own, "3.12.1") == own


def test_range_of_an_earlier_version_is_replaced() -> None:
    assert truth.set_python(PROJECT.replace(">=3.11.7,<3.12", "==3.11.*"), "3.11.7") == PROJECT


@pytest.mark.parametrize("version", ["3.13.0rc1", "3.13.0+"])
def test_python_range_of_an_unusual_version(version: str) -> None:
    assert truth.build_python_range(version) == ">=3.13.0,<3.14"


def test_editable_packages_are_sources() -> None:
    text = truth.set_editables(PROJECT, {"sam": "/home/you/sam"})
    assert tomllib.loads(text)["tool"]["uv"]["sources"] == {"sam": {"path": "/home/you/sam", "editable": True}}
    assert truth.set_editables(PROJECT, {}) == PROJECT


def test_lists_and_sources_of_uv_can_be_written_in_any_order() -> None:
    entries = [{"name": "old", "version": "1.0", "requires-dist": ["scipy>=1"], "provides-extra": []}]
    text = truth.set_editables(PROJECT, {"sam": "/home/you/sam"})
    text = truth.set_overrides(truth.set_dependency_metadata(text, entries), ["numpy==1.26"])
    uv = tomllib.loads(text)["tool"]["uv"]
    assert uv["dependency-metadata"] == entries
    assert uv["override-dependencies"] == ["numpy==1.26"]
    assert uv["sources"] == {"sam": {"path": "/home/you/sam", "editable": True}}
    assert truth.parse_groups(text) == truth.parse_groups(PROJECT)


INDEXES = {"https://host.example/cu126": ("torch", "torchvision")}


def test_indexes_are_written_once_and_leave_no_trace() -> None:
    text = truth.set_indexes(PROJECT, INDEXES)
    assert truth.set_indexes(text, INDEXES) == text
    uv = tomllib.loads(text)["tool"]["uv"]
    assert uv["index"] == [{"name": uv["index"][0]["name"], "url": "https://host.example/cu126", "explicit": True}]
    assert uv["sources"] == {name: {"index": uv["index"][0]["name"]} for name in ("torch", "torchvision")}
    assert tomllib.loads(text)["project"]["optional-dependencies"] == {"indexed": ["torch", "torchvision"]}
    assert truth.parse_groups(text) == truth.parse_groups(PROJECT)
    assert truth.set_indexes(text, {}) == PROJECT
    assert truth.set_indexes(PROJECT, {}) == PROJECT


def test_changed_index_replaces_the_old_one_beside_the_users() -> None:
    mine = PROJECT + 'index = [{ name = "mine", url = "https://mine.example/simple" }]\n'
    mine = truth.set_editables(mine, {"editlet": "/src/editlet"})
    text = truth.set_indexes(truth.set_indexes(mine, INDEXES), {"https://host.example/cpu": ["torch", "editlet"]})
    uv = tomllib.loads(text)["tool"]["uv"]
    assert [index["url"] for index in uv["index"]] == ["https://mine.example/simple", "https://host.example/cpu"]
    assert uv["sources"]["editlet"] == {"path": "/src/editlet", "editable": True}
    assert uv["sources"].keys() == {"editlet", "torch"}
    overridden = truth.set_overrides(text, ["numpy==1.26.4"])
    assert tomllib.loads(overridden)["tool"]["uv"]["override-dependencies"] == ["numpy==1.26.4"]
    assert tomllib.loads(truth.set_indexes(mine, {}))["tool"]["uv"] == tomllib.loads(mine)["tool"]["uv"]


@pytest.mark.parametrize("text", ["dependency-groups = 3", "[dependency-groups]\nbase = 3", "[[dependency-groups]]"])
def test_groups_that_are_no_lists_are_damage(text: str) -> None:
    with pytest.raises(Failure) as raised:
        truth.parse_groups(text)
    assert raised.value.code == "gov-truth-damaged"
    assert "gov snapshot list" in (raised.value.hint or "")


def test_project_that_is_not_utf8_is_damage(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_bytes("# caf\u00e9\n".encode("latin-1"))
    with pytest.raises(Failure) as raised:
        truth.read_project(project)
    assert raised.value.code == "gov-truth-damaged"
    project.write_text("# café\n", "utf-8")
    assert truth.read_project(project) == "# café\n"
