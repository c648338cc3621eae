from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.checks.nodes import (
    NodeFolderFacts,
    NodeFolderState,
    classify,
    judge,
)
from comfywatchman.governance.environments import staging
from comfywatchman.governance.nodes import add
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode
from tests.fakes import FakeClock
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site
from tests.governance.packs import commit_files, create_repository


@pytest.mark.parametrize(
    ("node", "state"),
    [
        (NodeFolderFacts("a", exists=False), "gone"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="2" * 40), "moved"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit=None), "moved"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="1" * 40), "as-recorded"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="1" * 40, is_dirty=True), "dirty"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="1" * 40, is_dirty=None), "unknown"),
        (NodeFolderFacts("a", is_dirty=True), "dirty"),
        (NodeFolderFacts("a"), "as-recorded"),
    ],
)
def test_folder_is_compared_with_its_record(node: NodeFolderFacts, state: NodeFolderState) -> None:
    assert classify(node) == state


def test_unchanged_nodes_are_ok() -> None:
    assert judge([]).evidence == "No custom node is registered."
    assert judge([NodeFolderFacts("a")]).evidence.startswith("1 registered node,")
    assert judge([NodeFolderFacts("a"), NodeFolderFacts("b")]).status == "ok"


@pytest.mark.parametrize(
    ("node", "status", "action"),
    [
        (NodeFolderFacts("depth", exists=False), "fail", "gov node remove depth"),
        (NodeFolderFacts("depth", recorded_commit="1" * 40, commit="2" * 40), "warn", "gov tx run depth"),
        (
            NodeFolderFacts("depth", recorded_commit="1" * 40, commit="1" * 40, is_dirty=True),
            "warn",
            "gov tx run depth",
        ),
        (NodeFolderFacts("depth", recorded_commit="1" * 40, commit="1" * 40, is_dirty=None), "unknown", None),
    ],
)
def test_changed_node_is_named_with_a_command(node: NodeFolderFacts, status: str, action: str | None) -> None:
    result = judge([NodeFolderFacts("other"), node])
    assert (result.status, result.items) == (status, ("depth",))
    assert result.action is None if action is None else action in (result.action or "")


def test_nodes_are_compared_with_the_registry(site: Site) -> None:
    (site.comfyui / "custom_nodes" / "stranger").mkdir()
    (site.comfyui / "custom_nodes" / "single_file.py").write_text("")
    gone = RegisteredNode(id="gone", git_url="", ref="", path="", group="node-gone")
    write_atomic(site.layout.plugins, to_json(NodeRegistry(plugins={"gone": gone})))
    results = run_checks_on(site)
    assert (results["nodes"].status, results["nodes"].items) == ("fail", ("gone",))
    assert results["unregistered-nodes"].items == ("stranger",)
    assert results["lock"].items == ("plugins.json",)


def adopt_folder(site: Site, node_id: str = "depth") -> Path:
    """Register a repository in custom_nodes, and return its folder."""
    folder = create_repository(site.comfyui / "custom_nodes" / node_id, files={"web/a.js": "1"})
    with site.opened() as opened:
        add.adopt_node(opened, node_id)
    return folder


@pytest.mark.slow
def test_node_is_rechecked_after_a_change_or_a_day(site: Site) -> None:
    assert isinstance(site.clock, FakeClock)
    folder = adopt_folder(site)
    assert run_checks_on(site)["nodes"].status == "ok"
    (folder / "web" / "a.js").write_text("2")
    assert run_checks_on(site)["nodes"].status == "ok"
    site.clock.advance(awake=timedelta(days=1).total_seconds())
    assert run_checks_on(site, budget_seconds=0.0)["nodes"].status == "ok"
    assert "with changed files: depth" in run_checks_on(site)["nodes"].evidence
    (folder / "__init__.py").write_text("changed = 1")
    assert run_checks_on(site, budget_seconds=0.0)["nodes"].status == "unknown"


@pytest.mark.slow
def test_node_at_another_commit_is_a_warning(site: Site) -> None:
    commit_files(adopt_folder(site), {"new.py": ""})
    result = run_checks_on(site)["nodes"]
    assert result.evidence == "at another commit than recorded: depth."
    assert result.action is not None
    assert result.action.startswith("gov tx run depth")


@pytest.mark.slow
def test_node_without_a_recorded_tree_is_compared_by_git(site: Site) -> None:
    folder = adopt_folder(site)
    plugins = staging.read_registry(site.layout)
    bare = msgspec.structs.replace(plugins.plugins["depth"], tree=None)
    write_atomic(site.layout.plugins, to_json(NodeRegistry(plugins={"depth": bare})))
    assert run_checks_on(site)["nodes"].status == "ok"
    (folder / "__init__.py").write_text("changed = 1")
    assert run_checks_on(site)["nodes"].status == "warn"
