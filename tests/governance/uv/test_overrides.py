from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode
from comfywatchman.governance.uv.overrides import (
    build_global_overrides,
    build_scoped_overrides,
    collect_extras,
    drop_pins,
    merge_node_overrides,
    merge_pins,
    parse_pin,
    remove_node,
    set_node,
    split_violations,
    to_record,
)

SCOPED = {"package": {"name": "opencv"}, "dependencies": ["numpy==1.26.4"]}
PROJECT = truth.render_project(python_version="3.11.7", marker="sys_platform == 'linux'", base=["numpy<2"])


def _edge(source: str, requirement: str) -> RequirementEdge:
    return RequirementEdge(source=source, requirement=requirement)


def _plugins(**entries: list[object]) -> NodeRegistry:
    return NodeRegistry(
        plugins={
            name: RegisteredNode(id=name, git_url="", ref="", path="", group=f"node-{name}", overrides=tuple(found))  # type: ignore[arg-type]
            for name, found in entries.items()
        }
    )


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        ("numpy==1.26.4", "numpy==1.26.4"),
        (" NumPy == 1.26.4 ", "numpy==1.26.4"),
        ("a_b==2.0rc1", "a-b==2.0rc1"),
        ("torch==2.8.0+cu128", "torch==2.8.0+cu128"),
    ],
)
def test_pin_is_a_name_and_one_version(text: str, pin: str) -> None:
    assert parse_pin(text) == pin


@pytest.mark.parametrize(
    "text",
    [
        *("", "numpy", "numpy>=1", "numpy==", "==1", "numpy==1.*", "numpy===1", "numpy==1,<2", "numpy[x]==1", "-r==1"),
        *(
            "numpy==1; sys_platform == 'win32'",
            "numpy @ https://127.0.0.1/x",
            "a @ https://x==1",
            "numpy==1\nx==2",
            "numpy==one",
        ),
    ],
)
def test_invalid_pin_is_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_pin(text)
    assert caught.value.code == "gov-bad-pin"
    assert "numpy==1.26.4" in str(caught.value)


@given(st.text(max_size=30))
@pytest.mark.slow
def test_any_text_is_a_pin_or_a_failure(text: str) -> None:
    try:
        pin = parse_pin(text)
    except Failure:
        return
    assert parse_pin(pin) == pin


def test_long_pin_is_refused_briefly() -> None:
    with pytest.raises(Failure) as caught:
        parse_pin(f"numlet=={'1' * 100_000}")
    assert caught.value.code == "gov-bad-pin"
    assert len(str(caught.value)) < 200


def test_pins_are_dropped_by_package_and_unknown_ones_reported() -> None:
    assert drop_pins(["numpy==1", "b==1"], [" NumPy "]) == ("b==1",)
    with pytest.raises(Failure, match="'torch' is not pinned") as caught:
        drop_pins(["b==1"], ["torch"])
    assert (caught.value.code, caught.value.hint) == ("gov-bad-pin", "Pins: b==1.")


def test_later_pin_of_a_package_wins() -> None:
    assert merge_pins(["numpy==1", "b==1"], ["NumPy==2"]) == ("b==1", "numpy==2")


def test_only_the_contradicting_package_is_overruled() -> None:
    edges = [_edge("opencv>=4.12", "numpy>=2"), _edge("opencv==4.12", "numpy>=2"), _edge("node a", "numpy<2")]
    assert build_scoped_overrides(["numpy==1.26.4"], edges, {}) == (SCOPED,)


def test_pins_of_one_package_share_an_entry() -> None:
    edges = [_edge("opencv", "numpy>=2"), _edge("opencv", "six>=2"), _edge("scipy", "six>=2")]
    assert build_scoped_overrides(["numpy==1", "six==1"], edges, {}) == (
        {"package": {"name": "opencv"}, "dependencies": ["numpy==1", "six==1"]},
        {"package": {"name": "scipy"}, "dependencies": ["six==1"]},
    )


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [("opencv", "numpy>=1")],
        [("opencv", "numpy>=2"), ("node a", "numpy>=2")],
        [("base", "numpy>=2")],
        [("pin", "numpy==2")],
        [("opencv", "scipy>=2")],
    ],
)
def test_pin_against_a_root_is_global(edges: list[tuple[str, str]]) -> None:
    assert build_scoped_overrides(["numpy==1.26.4"], [_edge(*one) for one in edges], {}) == ("numpy==1.26.4",)


def test_address_contradicts_a_pin() -> None:
    assert build_scoped_overrides(["numpy==1.26.4"], [_edge("opencv", "numpy @ https://127.0.0.1/n.whl")], {}) == (
        SCOPED,
    )


def test_required_extras_are_kept() -> None:
    extras = collect_extras(["uvicorn[standard]>=0.2", "Uvicorn[Fast]", "numpy", "-r other.txt"])
    assert extras == {"uvicorn": {"standard", "Fast"}}
    assert build_global_overrides(["uvicorn==0.30", "numpy==1"], extras) == ("uvicorn[Fast,standard]==0.30", "numpy==1")
    assert build_scoped_overrides(["uvicorn==0.1"], [_edge("web", "uvicorn>=1")], extras) == (
        {"package": {"name": "web"}, "dependencies": ["uvicorn[Fast,standard]==0.1"]},
    )


def test_user_overrides_stay() -> None:
    assert merge_node_overrides(["own==1"], [], [["a==1"]]) == ("own==1", "a==1")
    assert merge_node_overrides(["own==1", "a==1"], [["a==1"]], []) == ("own==1",)
    assert merge_node_overrides(["own==1"], [], [["own==1"]]) == ("own==1",)


def test_shared_override_stays_while_one_node_has_it() -> None:
    assert merge_node_overrides(["a==1"], [["a==1"], ["a==1"]], [["a==1"]]) == ("a==1",)


def test_later_node_wins_a_shared_override() -> None:
    both = merge_node_overrides(["a==1"], [["a==1"]], [["a==1"], ["a[x]==2"]])
    assert both == ("a[x]==2",)
    assert merge_node_overrides(both, [["a==1"], ["a[x]==2"]], [["a==1"]]) == ("a==1",)


def test_invalid_lines_are_distinct() -> None:
    assert merge_node_overrides([], [], [["???"], ["!!!"]]) == ("???", "!!!")


def test_scoped_overrides_of_one_package_replace_each_other() -> None:
    later = {"package": {"name": "opencv"}, "dependencies": ["numpy==1.25"]}
    assert merge_node_overrides([], [], [[SCOPED], [later]]) == (later,)


def test_added_and_removed_node_leaves_the_same_bytes() -> None:
    none = _plugins()
    text = set_node(PROJECT, none, "a", lines=["opencv"], overrides=[dict(sorted(SCOPED.items())), "six==1"])
    assert '{package = {name = "opencv"}, dependencies = ["numpy==1.26.4"]}' in text
    assert truth.parse_overrides(text) == (SCOPED, "six==1")
    assert truth.parse_groups(text)["node-a"] == ("opencv",)
    assert remove_node(text, _plugins(a=[SCOPED, "six==1"]), "a") == PROJECT


def test_node_without_overrides_leaves_others_as_written() -> None:
    text = truth.set_overrides(PROJECT, ["own==1"]).replace('    "own==1",\n', '    "own==1",  # mine\n')
    assert "# mine" in set_node(text, _plugins(), "a", lines=["x"], overrides=[])


def test_second_promotion_replaces_the_overrides_of_a_node() -> None:
    text = set_node(PROJECT, _plugins(), "a", lines=["x"], overrides=["six==1"])
    assert truth.parse_overrides(set_node(text, _plugins(a=["six==1"]), "a", lines=["x"], overrides=["six==2"])) == (
        "six==2",
    )


VIOLATION = "The package `opencv` requires `numpy[fast]>=2`, but `1.26.4` is installed"


@pytest.mark.parametrize("entry", [SCOPED, "numpy==1.26.4", "NumPy[fast]==1.26.4"])
def test_violation_caused_by_an_override_is_accepted(entry: truth.Override) -> None:
    assert split_violations([VIOLATION], [entry]) == ((VIOLATION,), ())


@pytest.mark.parametrize(
    "entry",
    [
        "scipy==1",
        "???",
        {"package": {"name": "scipy"}, "dependencies": ["numpy==1.26.4"]},
        {"package": {"name": "opencv"}, "dependencies": ["six==1"]},
        {},
    ],
)
def test_other_violations_are_not_accepted(entry: truth.Override) -> None:
    assert split_violations([VIOLATION], [entry]) == ((), (VIOLATION,))


def test_line_without_a_requirement_is_not_accepted() -> None:
    line = "The package `x` is strange"
    assert split_violations([line], ["numpy==1"]) == ((), (line,))


def test_records_have_plain_values() -> None:
    assert [to_record("a==1"), to_record(SCOPED)] == ["a==1", SCOPED]
