"""Suggested pins: their order, and the budget for finding them."""

from __future__ import annotations

import pytest

from comfywatchman.governance.conflicts.probe import ResolutionProbe
from comfywatchman.governance.conflicts.suggestions import find_contested_packages, sort_by_preference, suggest_pins
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.uv.declared_requirements import DeclaredRequirement, parse_declared
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

BASE = DeclaredRequirement("base", "numlet<2", "base")
OTHER = DeclaredRequirement("node a", "oldlet", "node-a")
TRIED = DeclaredRequirement("node b", "midlet>=2", "node-b")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A root whose ComfyUI requires numlet<2; no test changes its truth files."""
    site = build_site(tmp_path_factory.mktemp("site"), requirements=("corelet==1.0", "numlet<2"))
    add_wheel(site.wheels, "midlet", "1.0", requires=["numlet>=1"])
    add_wheel(site.wheels, "midlet", "2.0", requires=["numlet>=2"])
    return site


def test_tried_node_is_overruled_before_other_nodes_and_comfyui() -> None:
    assert sort_by_preference([BASE, OTHER, TRIED], "b") == (TRIED, OTHER, BASE)


def test_contested_packages_have_several_sources() -> None:
    edges = [
        RequirementEdge(source="midlet>=2", requirement="numlet>=2"),
        RequirementEdge(source="midlet>=2", requirement="plainlet"),
        RequirementEdge(source="midlet>=2", requirement="no requirement !"),
    ]
    assert find_contested_packages([BASE, TRIED], edges) == ("numlet",)


@pytest.mark.slow
def test_suggestions_found_before_the_budget_ends_are_kept(site: Site) -> None:
    with site.opened() as context:
        text = truth.set_group(site.layout.pyproject.read_text(), "node-b", ["midlet>=2"])
        lines = parse_declared(text)
        clash = [line for line in lines if line.name in {"numlet", "midlet"}]
        probe = ResolutionProbe(context, text, max_resolutions=3)
        tried = Transaction(txid="20261121T120000Z-0123abcd", node_id="b", started_at="")
        pins = suggest_pins(probe, lines, clash, [], tried)
    assert [suggestion.pin for suggestion in pins] == ["midlet==1.0"]
