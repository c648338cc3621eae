"""Conflict reports, with real uv over tiny wheels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from comfywatchman.base.files import read_state
from comfywatchman.governance.conflicts import report
from comfywatchman.governance.conflicts.probe import ProbeUndecided, ResolutionProbe
from comfywatchman.governance.conflicts.suggestions import suggest_pins
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.access import GovContext
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import ConflictReport, RequirementEdge, Transaction
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.declared_requirements import parse_declared
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

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
        ended = work.lock(context.uv, context.python, pins=tried)
        assert not ended.is_success
        return report.report_conflict(context, transaction, ended, work.folder)


def test_a_node_that_clashes_with_comfyui_is_named_with_the_package_between(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-My_Pack": ["midlet>=2", "plainlet"]}, node_id="My_Pack")
    assert (found.kind, found.confidence) == ("conflict", "verified")
    assert set(found.clash) == {_edge("base", "numlet<2"), _edge("node My_Pack", "midlet>=2")}
    assert _edge("midlet>=2.0", "numlet>=2") in found.edges
    assert set(found.roots) == set(found.clash)
    assert found.detected_packages == ("midlet", "numlet")
    assert "midlet>=2 (node My_Pack)" in found.summary
    assert "numlet<2 (ComfyUI)" in found.summary
    assert "midlet>=2.0 wants numlet>=2" in found.summary


def test_what_is_suggested_gives_way_in_the_node_first(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["midlet>=2"]})
    assert found.suggestions == ("midlet==1.0", "numlet==1.0", "numlet==2.0")


def test_a_pin_that_leaves_another_clash_is_not_suggested(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["hardlet"]})
    assert found.confidence == "verified"
    assert found.suggestions == ()


def test_two_nodes_that_clash_are_both_named(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"base": ["corelet"], "node-a": ["oldlet"], "node-b": ["newlet", "corelet"]})
    assert found.confidence == "verified"
    assert set(found.clash) == {_edge("node a", "oldlet"), _edge("node b", "newlet")}
    assert found.suggestions


def test_the_report_and_uvs_own_words_are_kept(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["newlet"]})
    assert read_state(site.layout.conflicts / f"{TXID}.json", ConflictReport) == found
    assert found.raw_log == str(site.layout.logs / f"{TXID}.promote.lock.log")
    assert "No solution found" in Path(found.raw_log).read_text()
    assert list(site.layout.work.iterdir()) == []


def test_a_clash_that_uvs_words_do_not_show_is_found_by_leaving_out(site: Site, tmp_path: Path) -> None:
    with site.opened() as context:
        text = truth.set_group(site.layout.pyproject.read_text(), "node-b", ["newlet", "plainlet"])
        project = tmp_path
        (project / "pyproject.toml").write_text(text)
        strange = UvResult(1, "", "error: No solution found when resolving dependencies\n  in words of the future")
        found = report.report_conflict(context, Transaction(txid=TXID, node_id="b", started_at=""), strange, project)
    assert found.confidence == "verified"
    assert set(found.clash) == {_edge("base", "numlet<2"), _edge("node b", "newlet")}


def test_a_clash_within_one_node_is_told_to_be_that(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"base": ["corelet"], "node-b": ["oldlet", "newlet"]})
    assert set(found.clash) == {_edge("node b", "oldlet"), _edge("node b", "newlet")}


def test_a_version_that_was_tried_and_cannot_be_locked_is_part_of_the_clash(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["midlet"]}, tried=["midlet==2.0", "plainlet==1.0"])
    assert found.edges == (_edge("midlet>=2.0", "numlet>=2"), _edge("pin", "midlet==2.0"), _edge("base", "numlet<2"))
    asked = {_edge("base", "numlet<2"), _edge("node b", "midlet"), _edge("pin", "midlet==2.0")}
    assert set(found.clash) == asked
    assert "the version that was tried" in found.summary


def test_the_packages_between_are_named_although_tried_versions_hid_them(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["midlet>=2"]}, tried=["midlet==2.0", "numlet==2.0"])
    assert set(found.clash) == {_edge("base", "numlet<2"), _edge("node b", "midlet>=2")}
    assert _edge("midlet>=2.0", "numlet>=2") in found.edges


def test_a_constraint_of_a_person_is_no_wish_of_a_package(site: Site) -> None:
    with site.opened() as context:
        found = _report(
            context,
            {"base": ["corelet"], "node-b": ["midlet>=2"]},
            uv='override-dependencies = ["numlet==9"]',
        )
    assert found.kind == "not_found"
    assert _edge("pin", "numlet==9") in found.edges


def test_a_package_that_does_not_exist_is_no_conflict(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["nosuchlet", "plainlet"]})
    assert (found.kind, found.confidence) == ("not_found", "verified")
    assert found.clash == (_edge("node b", "nosuchlet"),)
    assert found.summary == "nosuchlet (node b) does not exist here."
    assert found.suggestions == ()


def test_for_a_version_that_does_not_exist_one_that_does_is_suggested(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["plainlet==7"]})
    assert found.suggestions == ("plainlet==1.0",)


def test_without_a_network_nobody_is_blamed(site: Site) -> None:
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


def test_other_trouble_than_a_conflict_is_told_by_its_kind(site: Site) -> None:
    with site.opened() as context:
        found = _report(context, {"node-b": ["plainlet >= two"]})
    assert (found.kind, found.clash, found.suggestions) == ("bad_input", (), ())
    assert found.summary.startswith("uv cannot work with what it was given: Project `comfy-env`")


def test_uv_that_says_nothing_is_told_too(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        gone = UvResult(-9, "", "")
        found = report.report_conflict(context, Transaction(txid=TXID, node_id="b", started_at=""), gone, work.folder)
    assert (found.kind, found.summary) == ("other", "uv failed for a reason that is not known here.")


def test_what_fits_when_it_is_resolved_again_is_no_clash(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        words = UvResult(1, "", "error: No solution found when resolving dependencies\n  cause: Because of the moon")
        found = report.report_conflict(context, Transaction(txid=TXID, node_id="b", started_at=""), words, work.folder)
    assert found.confidence == "unparsed"
    assert "resolved again, they fit" in found.summary


def test_questions_end_with_their_budget(site: Site) -> None:
    with site.opened() as context:
        text = site.layout.pyproject.read_text()
        lines = parse_declared(text)
        probe = ResolutionProbe(context, text, most_resolutions=1)
        assert not probe.fails(lines)
        assert not probe.fails(lines)
        with pytest.raises(ProbeUndecided, match="too many"):
            probe.fails(lines[:1])
        with pytest.raises(ProbeUndecided, match="too many"):
            ResolutionProbe(context, text, most_seconds=0).fails(lines)


def test_suggestions_end_with_the_budget_and_keep_what_was_found(site: Site) -> None:
    with site.opened() as context:
        text = truth.set_group(site.layout.pyproject.read_text(), "node-b", ["midlet>=2"])
        lines = parse_declared(text)
        clash = [line for line in lines if line.name in {"numlet", "midlet"}]
        probe = ResolutionProbe(context, text, most_resolutions=3)
        pins = suggest_pins(probe, lines, clash, [], Transaction(txid=TXID, node_id="b", started_at=""))
    assert pins == ("midlet==1.0",)


def test_a_part_that_fails_for_another_reason_blames_nobody(site: Site) -> None:
    with site.opened() as context:
        text = site.layout.pyproject.read_text()
        broken = text.replace('required-version = ">=0.12"', 'required-version = ">=99"')
        with pytest.raises(ProbeUndecided, match="another reason"):
            ResolutionProbe(context, broken).fails(parse_declared(text))
