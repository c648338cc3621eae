"""uv's words, held against texts that real versions of uv printed (uv_texts/produce.py makes them)."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from comfywatchman.governance.store.conflict_records import ConflictReport, RequirementEdge
from comfywatchman.governance.uv.error_parser import UvErrorKind, classify, parse_edges
from comfywatchman.governance.uv.requirement import is_root

TEXTS: dict[str, dict[str, tuple[int, str]]] = json.loads(
    (Path(__file__).parent / "uv_texts" / "texts.json").read_text("utf-8")
)
FEW_VERSIONS = {
    "scoped_override": ("bad_input", "0.9.30"),
    "python_too_new": ("not_found", "0.6.17"),
    "platform": ("not_found", "0.13.9"),
    "old_uv_wanted": ("bad_input", "0.6.17"),
    "bad_requirement": ("bad_input", "0.9.30"),
}
"""Scenes that some versions take otherwise: the kind, and a version that shows it."""

KINDS: dict[str, tuple[str, ...]] = {
    "conflict": (
        *("two_nodes", "node_against_base", "node_against_base_colour", "base_group", "deep", "exact_pair", "split"),
        *("three_nodes", "extras", "constraint", "many_roots", "excluded", "within_a_node", "within_base", "two_urls"),
        *("offline_conflict", "compile"),
    ),
    "offline_cache_miss": ("offline", "offline_no_metadata"),
    "network": (
        *("refused", "no_such_host", "unauthorized", "forbidden", "server_error", "slow_server", "broken_page"),
        "git_unreachable",
    ),
    "build_failed": ("build_failed",),
    "stale_lock": ("stale_lock", "no_lock"),
    "not_found": (
        *("not_found", "version_not_found", "override", "index_not_found", "missing_url", "missing_file"),
        "git_no_repository",
    ),
    "bad_input": (
        "bad_toml",
        "wrong_python",
        "no_interpreter",
        "unknown_option",
        "declared_conflict",
        "missing_folder",
    ),
}
IMPACT = ("node comfyui-impact-pack", "opencv-python-headless>=4.12")
ROOTS: dict[str, set[tuple[str, str]]] = {
    "two_nodes": {("node a", "numpy<2"), ("node b", "numpy>=2")},
    "node_against_base": {IMPACT, ("base", "numpy<2")},
    "node_against_base_colour": {IMPACT, ("base", "numpy<2")},
    "base_group": {IMPACT, ("base", "numpy<2")},
    "deep": {
        ("node very-long-name-of-a-custom-node-that-wraps-at-eighty-columns", "deep-a"),
        ("base", "numpy<2"),
    },
    "exact_pair": {("node a", "torchvision==0.23.0"), ("base", "torch==2.7.0")},
    "three_nodes": {("node a", "torch==2.8.0"), ("node b", "torchvision<0.23")},
    "extras": {("node a", "extra-ful[fast]"), ("base", "numpy<2")},
    "split": {("node a", "opencv-python-headless>=4.12"), ("base", "numpy<2")},
    "excluded": {("base", "numpy"), ("base", "numpy>1.26.4"), ("node a", "numpy<2.2")},
    "many_roots": {("base", "numpy"), ("base", "numpy>1.26.4"), ("node a", "numpy<2.2")},
    "within_a_node": {("node a", "numpy<2"), ("node a", "opencv-python-headless>=4.12")},
    "within_base": {("base", "numpy<2"), ("base", "numpy>=2")},
    "constraint": {("node a", "opencv-python-headless>=4.12")},
    "compile": {("base", "numpy<2"), ("base", "opencv-python-headless>=4.12")},
    "offline_conflict": {("base", "numpy<2"), ("node a", "numpy>=2")},
    "offline": {("node a", "numpy>=2")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_uv_versions_give_the_same_kind(kind: str) -> None:
    meant = {(scene, version): classify(*output) for scene in KINDS[kind] for version, output in TEXTS[scene].items()}
    assert {key: found for key, found in meant.items() if found != kind} == {}


@pytest.mark.parametrize("scene", FEW_VERSIONS)
def test_phrases_of_single_versions_are_known(scene: str) -> None:
    kind, version = FEW_VERSIONS[scene]
    assert classify(*TEXTS[scene][version]) == kind


@pytest.mark.parametrize("scene", ROOTS)
def test_all_uv_versions_name_the_same_roots(scene: str) -> None:
    for version, (_, text) in TEXTS[scene].items():
        found = {(edge.source, edge.requirement) for edge in parse_edges(text) if is_root(edge)}
        assert found == ROOTS[scene], version


def test_conclusions_are_not_requirements() -> None:
    for _, text in TEXTS["exact_pair"].values():
        assert RequirementEdge(source="node a", requirement="torch==2.8.0") not in parse_edges(text)


def test_linking_packages_have_versions() -> None:
    _, text = TEXTS["node_against_base"]["0.13.9"]
    assert RequirementEdge(source="opencv-python-headless>=4.13.0", requirement="numpy>=2") in parse_edges(text)


def test_constraint_is_attributed_to_the_pin() -> None:
    for _, text in TEXTS["constraint"].values():
        found = parse_edges(text, pins=["NumPy == 1.26.4"])
        assert RequirementEdge(source="pin", requirement="numpy==1.26.4") in found
        assert not [edge for edge in found if edge.requirement == "numpy==1.26.4" and edge.source != "pin"]


def test_other_groups_keep_their_names() -> None:
    text = "No solution found when resolving dependencies\nBecause comfy-env:dev depends on a, we can conclude that"
    assert parse_edges(text) == (RequirementEdge(source="group dev", requirement="a"),)


def test_repeated_facts_are_not_new_requirements() -> None:
    known = "we know from (1) that comfy-env:node-a depends on b"
    text = f"No solution found when resolving\nBecause {known} and c depends on d"
    assert parse_edges(text) == (RequirementEdge(source="c", requirement="d"),)


def test_other_failures_have_no_edges() -> None:
    assert parse_edges(TEXTS["refused"]["0.13.9"][1]) == ()


def test_version_missing_for_two_declarers_is_a_conflict() -> None:
    missing = "Because there is no version of a==9 and b depends on a==9"
    text = f"No solution found when resolving\n{missing} and comfy-env:node-x depends on b"
    assert classify(1, text) == "not_found"
    assert classify(1, f"{text} and your project depends on a<9, we can conclude that") == "conflict"


def test_hints_are_ignored() -> None:
    text = "No solution found when resolving\nBecause a depends on b\n\nhint: Because c depends on d"
    assert parse_edges(text) == (RequirementEdge(source="a", requirement="b"),)


@pytest.mark.parametrize("scene", ["deep", "many_roots"])
def test_colours_are_ignored(scene: str) -> None:
    _, text = TEXTS[scene]["0.12.5"]
    coloured = "".join(f"\x1b[36m{part}\x1b[39m" for part in re.split(r"(\s+)", text))
    assert (parse_edges(coloured), classify(1, coloured)) == (parse_edges(text), "conflict")


def test_build_output_is_ignored() -> None:
    text = "error: Failed to build `x==1.0`\n  cause: Call to `build_wheel` failed\n\n  [stderr]\n  dns error\n"
    assert classify(1, text) == "build_failed"


def test_success_and_empty_output_are_other() -> None:
    assert classify(0, TEXTS["two_nodes"]["0.13.9"][1]) == "other"
    assert classify(-9, "") == "other"


def test_schema_has_every_kind() -> None:
    # Two packages with the same files are found without uv.
    kinds = {*get_args(UvErrorKind), "same_files"}
    assert kinds == set(get_args(get_type_hints(ConflictReport)["kind"]))


WORDS = st.sampled_from(
    [
        *("No solution found when resolving", "Because", "and", "depends on", "your project", "we can conclude that"),
        *("numpy<2", "numpy", "one of:", "all versions of", "comfy-env:node-a", "a[b]>=1", "hint:", "requires", ","),
        *(
            "╰─▶",
            "│",
            "\x1b[31m",
            "{python_version < '3'}",
            "you",
            "(1)",
            "==",
            "\n",
            "\n      ",
            "[stderr]",
            "we know from",
        ),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=60).map(" ".join), st.integers(-15, 3))
@pytest.mark.slow
def test_any_text_is_classified_and_edges_are_requirements(text: str, status: int) -> None:
    assert classify(status, text) in get_args(UvErrorKind)
    for edge in parse_edges("No solution found when resolving " + text):
        Requirement(edge.requirement)
        assert edge.source


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_truncated_text_has_no_invented_roots(data: st.DataObject) -> None:
    scene = data.draw(st.sampled_from(sorted(ROOTS)))
    _, text = TEXTS[scene]["0.12.5"]
    cut = data.draw(st.integers(0, len(text)))
    told = {source for source, _ in ROOTS[scene]} | {"base", "pin"}
    whole = text[:cut].rpartition(" ")[0].rpartition(" ")[0]
    assert {edge.source for edge in parse_edges(whole) if is_root(edge)} <= told


@pytest.mark.slow
def test_huge_text_is_parsed_in_linear_time() -> None:
    started = time.process_time()
    parse_edges("No solution found when resolving\nBecause " + "numpy depends on a{ and " * 100_000)
    classify(1, "error: " + "│ \u00d7 " * 500_000)
    assert time.process_time() - started < 200
