from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.readiness.nodes.facts import NodePackHints, NodeState
from tests.readiness.nodes.test_classify import MAPS_IT, host, judge, pack


def test_class_that_the_server_does_not_list_failed_to_import() -> None:
    verdict = judge("X", host(MAPS_IT, live={"KSampler"}))
    assert (verdict.state, verdict.is_certain) == (NodeState.IMPORT_FAILED, True)
    assert [package.id for package in verdict.packages] == ["thing"]


def test_conditional_class_is_unknown_without_a_server() -> None:
    facts = pack(possible_classes=frozenset({"X"}))
    assert judge("X", host(facts)).state is NodeState.UNKNOWN
    failed = judge("X", host(facts, live={"KSampler"}))
    assert failed.state is NodeState.IMPORT_FAILED
    assert "condition" in failed.evidence


def test_disabled_pack_must_be_enabled() -> None:
    verdict = judge("X", host(pack(enabled=False, classes=frozenset({"X"}))))
    assert (verdict.state, verdict.is_certain) == (NodeState.MISSING, True)
    assert (verdict.fix or "").startswith("Enable Thing")


def test_class_of_two_packs_is_not_certain() -> None:
    facts = host(MAPS_IT, pack("Other", classes=frozenset({"X"})), live={"KSampler"})
    verdict = judge("X", facts)
    assert (len(verdict.packages), verdict.is_certain) == (2, False)


@pytest.mark.parametrize(
    "hints",
    [NodePackHints(cnr_id="thing"), NodePackHints(aux_id="someone/Thing"), NodePackHints("comfy-core", "a/Thing")],
)
def test_pack_with_computed_names_leaves_the_class_unknown(hints: NodePackHints) -> None:
    facts = pack(
        complete=False, url="https://github.com/a/Thing" if hints.cnr_id == "comfy-core" else "x/someone/Thing"
    )
    verdict = judge("X", host(facts), hints)
    assert verdict.state is NodeState.UNKNOWN
    assert not verdict.needs_catalogues


def test_computed_names_do_not_matter_once_a_server_runs() -> None:
    verdict = judge("X", host(pack(complete=False), live={"KSampler"}), NodePackHints(cnr_id="thing"))
    assert verdict.state is NodeState.IMPORT_FAILED


def test_pack_without_the_class_must_be_updated() -> None:
    verdict = judge("X", host(pack()), NodePackHints(cnr_id="thing", version="2.0.0"))
    assert verdict.state is NodeState.MISSING
    assert (verdict.fix or "").startswith("Update Thing")
    assert "2.0.0" in verdict.evidence


def test_disabled_pack_of_the_workflow_must_be_enabled() -> None:
    verdict = judge("X", host(pack(enabled=False, complete=False)), NodePackHints(cnr_id="thing"))
    assert verdict.state is NodeState.MISSING
    assert (verdict.fix or "").startswith("Enable Thing")


def test_many_packs_are_counted() -> None:
    packs = [pack(f"P{number}", complete=False) for number in range(9)]
    assert "P0, P1, P2 and 6 more" in judge("X", host(*packs)).evidence


def test_pack_that_failed_at_the_last_start_has_no_classes() -> None:
    pack = MAPS_IT
    facts = replace(host(pack), failed_imports={pack.folder: "its import failed at the last start"})
    verdict = judge(next(iter(pack.classes)), facts)
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "last start" in verdict.evidence


def test_running_server_overrules_the_last_start() -> None:
    pack = MAPS_IT
    name = next(iter(pack.classes))
    facts = replace(host(pack, live={name}), failed_imports={pack.folder: "its import failed at the last start"})
    assert judge(name, facts).state is NodeState.PRESENT


def test_provider_names_its_folder() -> None:
    (package,) = judge("X", host(MAPS_IT, live={"KSampler"})).packages
    assert (package.id, package.evidence) == ("thing", "installed in custom_nodes/Thing")


def test_pack_must_fail_everywhere_to_have_failed() -> None:
    other = pack("Other", classes=frozenset({"X"}))
    facts = replace(host(MAPS_IT, other), failed_imports={MAPS_IT.folder: "its import failed"})
    assert judge("X", facts).state is NodeState.PRESENT


def test_pack_that_nothing_has_confirmed_is_named() -> None:
    verdict = judge("X", host(MAPS_IT))
    assert (verdict.state, verdict.unconfirmed_packs) == (NodeState.PRESENT, (MAPS_IT.folder,))


def test_pack_that_the_last_start_imported_is_confirmed() -> None:
    other = pack("Other", classes=frozenset({"X"}))
    facts = replace(host(other, MAPS_IT), proven_imports=frozenset({MAPS_IT.folder}))
    verdict = judge("X", facts)
    assert (verdict.state, verdict.unconfirmed_packs) == (NodeState.PRESENT, ())
    assert "Thing maps it; the last start" in verdict.evidence


def test_pack_that_failed_at_the_last_start_is_not_called_unconfirmed() -> None:
    other = pack("Other", classes=frozenset({"X"}))
    facts = replace(host(other, MAPS_IT), failed_imports={other.folder: "its import failed"})
    assert judge("X", facts).unconfirmed_packs == (MAPS_IT.folder,)


def test_class_that_the_server_lists_is_confirmed() -> None:
    assert judge("X", host(MAPS_IT, live={"X"})).unconfirmed_packs == ()
