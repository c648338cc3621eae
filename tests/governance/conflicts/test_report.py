"""Conflict reports, with real uv over tiny wheels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.conflicts import report
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import ConflictReport, RequirementEdge
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.uv.client import UvResult
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow

TXID = "20261121T120000Z-0123abcd"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A root whose ComfyUI wants numlet<2, with an index whose packages do not all fit; no test changes its truth."""
    site = build_site(tmp_path_factory.mktemp("site"), requirements=("corelet==1.0", "numlet<2"))
    add_wheel(site.wheels, "midlet", "1.0", requires=["numlet>=1"])
    add_wheel(site.wheels, "midlet", "2.0", requires=["numlet>=2"])
    add_wheel(site.wheels, "hardlet", "1.0", requires=["numlet>=2", "corelet==2.0"])
    return site


def _edge(source: str, requirement: str) -> RequirementEdge:
    return RequirementEdge(source=source, requirement=requirement)


def _report(
    context: GovContext,
    groups: dict[str, Sequence[str]],
    *,
    node_id: str = "b",
    tried: Sequence[str] = (),
    uv: str = "",
) -> ConflictReport:
    """Lock a project with these groups, which fails, and report on it."""
    transaction = Transaction(txid=TXID, node_id=node_id, started_at="", post_freeze=tuple(tried))
    with staging.open_staging(context.layout) as work:
        for group, lines in groups.items():
            work.edit_project(lambda text, group=group, lines=lines: truth.set_group(text, group, lines))  # type: ignore[misc]
        if uv:
            work.edit_project(lambda text: text.replace("[tool.uv]\n", f"[tool.uv]\n{uv}\n"))
        result = work.lock(context.uv, context.python, pins=tried)
        assert not result.is_success
        return report.report_conflict(context, transaction, result, work.folder)


def test_conflict_with_comfyui_names_the_linking_package(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-My_Pack": ["midlet>=2", "plainlet"]}, node_id="My_Pack")
    assert (found.kind, found.confidence) == ("conflict", "verified")
    assert set(found.clash) == {_edge("base", "numlet<2"), _edge("node My_Pack", "midlet>=2")}
    assert _edge("midlet>=2.0", "numlet>=2") in found.edges
    assert set(found.roots) == set(found.clash)
    assert found.detected_packages == ("midlet", "numlet")
    assert "midlet>=2 (node My_Pack)" in found.summary
    assert "numlet<2 (ComfyUI)" in found.summary
    assert "midlet>=2.0 requires numlet>=2" in found.summary


def test_suggested_pins_overrule_the_node_first(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["midlet>=2"]})
    assert found.suggestions == ("midlet==1.0", "numlet==1.0", "numlet==2.0")


def test_pin_that_leaves_another_conflict_is_not_suggested(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["hardlet"]})
    assert found.confidence == "verified"
    assert found.suggestions == ()


def test_conflict_of_two_nodes_names_both(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"base": ["corelet"], "node-a": ["oldlet"], "node-b": ["newlet", "corelet"]})
    assert found.confidence == "verified"
    assert set(found.clash) == {_edge("node a", "oldlet"), _edge("node b", "newlet")}
    assert found.suggestions


def test_report_and_uv_output_are_written(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["newlet"]})
    assert read_state(site.layout.conflicts / f"{TXID}.json", ConflictReport) == found
    assert found.raw_log == str(site.layout.logs / f"{TXID}.promote.lock.log")
    assert "No solution found" in Path(found.raw_log).read_text()
    assert list(site.layout.work.iterdir()) == []


def test_conflict_that_uv_does_not_name_is_found(site: Site, tmp_path: Path) -> None:
    with site.opened() as context:
        text = truth.set_group(site.layout.pyproject.read_text(), "node-b", ["newlet", "plainlet"])
        project = tmp_path
        (project / "pyproject.toml").write_text(text)
        strange = UvResult(1, "", "error: No solution found when resolving dependencies\n  in words of the future")
        found = report.report_conflict(context, Transaction(txid=TXID, node_id="b", started_at=""), strange, project)
    assert found.confidence == "verified"
    assert set(found.clash) == {_edge("base", "numlet<2"), _edge("node b", "newlet")}


def test_conflict_within_one_node(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"base": ["corelet"], "node-b": ["oldlet", "newlet"]})
    assert set(found.clash) == {_edge("node b", "oldlet"), _edge("node b", "newlet")}


def test_tried_version_that_cannot_be_locked_is_in_the_conflict(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["midlet"]}, tried=["midlet==2.0", "plainlet==1.0"])
    assert found.edges == (_edge("midlet>=2.0", "numlet>=2"), _edge("pin", "midlet==2.0"), _edge("base", "numlet<2"))
    asked = {_edge("base", "numlet<2"), _edge("node b", "midlet"), _edge("pin", "midlet==2.0")}
    assert set(found.clash) == asked
    assert "the tried version" in found.summary


def test_linking_packages_are_named_despite_tried_versions(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["midlet>=2"]}, tried=["midlet==2.0", "numlet==2.0"])
    assert set(found.clash) == {_edge("base", "numlet<2"), _edge("node b", "midlet>=2")}
    assert _edge("midlet>=2.0", "numlet>=2") in found.edges


def test_user_constraint_is_not_attributed_to_a_package(site: Site) -> None:
    with site.opened() as context:
        found = _report(
            context,
            {"base": ["corelet"], "node-b": ["midlet>=2"]},
            uv='override-dependencies = ["numlet==9"]',
        )
    assert found.kind == "not_found"
    assert _edge("pin", "numlet==9") in found.edges


def test_missing_package_is_not_a_conflict(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["nosuchlet", "plainlet"]})
    assert (found.kind, found.confidence) == ("not_found", "verified")
    assert found.clash == (_edge("node b", "nosuchlet"),)
    assert found.summary == "nosuchlet (node b) does not exist for this Python and platform."
    assert found.suggestions == ()


def test_existing_version_is_suggested_for_a_missing_one(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["plainlet==7"]})
    assert found.suggestions == ("plainlet==1.0",)


def test_offline_report_confirms_nothing(site: Site) -> None:
    site.configure(network={"no_index": False, "offline": True})
    try:
        with site.opened() as context:
            found = _report(context, {"node-b": ["newlet"]})
    finally:
        site.configure(network={"no_index": True, "offline": False})
    assert (found.kind, found.confidence) == ("conflict", "unparsed")
    assert "the network is off" in found.summary
    assert found.roots
    assert found.suggestions == ()


def test_other_failures_are_reported_by_kind(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["plainlet >= two"]})
    assert (found.kind, found.clash, found.suggestions) == ("bad_input", (), ())
    assert found.summary.startswith("uv rejected its input: Project `comfy-env`")


def test_failure_without_output_is_reported(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        gone = UvResult(-9, "", "")
        found = report.report_conflict(context, Transaction(txid=TXID, node_id="b", started_at=""), gone, work.folder)
    assert (found.kind, found.summary) == ("other", "uv failed for an unknown reason.")


def test_requirements_that_fit_when_resolved_again(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        words = UvResult(1, "", "error: No solution found when resolving dependencies\n  cause: Because of the moon")
        found = report.report_conflict(context, Transaction(txid=TXID, node_id="b", started_at=""), words, work.folder)
    assert found.confidence == "unparsed"
    assert "resolved again, they fit" in found.summary
