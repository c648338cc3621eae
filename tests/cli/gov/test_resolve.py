from __future__ import annotations

import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.store.conflict_records import ConflictReport, RequirementEdge
from tests.cli.gov.calls import TXID, Gov

pytestmark = pytest.mark.slow


def test_conflict_exits_with_2_and_suggests_pins(gov_on: Gov) -> None:
    for name, requirement in (("old", "oldlet"), ("new", "newlet")):
        gov_on.pack(name, requirement)
        gov_on("node", "add", "--adopt", name)
        gov_on("tx", "run", name)
        txid = gov_on.json("tx", "list")["transactions"][0]["txid"]
        result = gov_on("tx", "promote", txid)
    assert result.exit_code == 2, result.output
    assert f"Try: gov resolve {txid} --pin numlet==" in result.stdout
    unsolved = gov_on.json("resolve", txid, "--pin", "numlet==9.0", code=2)
    assert (unsolved["transaction"]["status"], unsolved["conflict"]["txid"]) == ("needs_resolution", txid)
    assert "Conflict (" in gov_on("tx", "inspect", txid).stdout
    solved = gov_on("resolve", txid, "--pin", "numlet==2.0")
    assert (solved.exit_code, "Resolved with numlet==2.0." in solved.stdout) == (0, True)
    assert "Accepted, because you pinned it" in gov_on("tx", "promote", txid).stdout


def test_resolve_on_a_terminal_prompts_for_pins(gov_on: Gov) -> None:
    gov_on.record("needs_resolution")
    report = ConflictReport(
        txid=TXID,
        node_id="depth",
        created_at="2026-11-20T12:00:00Z",
        kind="conflict",
        confidence="verified",
        summary="They clash.",
        clash=(
            RequirementEdge(source="node old", requirement="numlet<2"),
            RequirementEdge(source="node new", requirement="numlet>=2"),
        ),
        suggestions=("numlet==2.0",),
    )
    write_atomic(gov_on.site.layout.conflicts / f"{TXID}.json", to_json(report))
    screen = gov_on.on_a_terminal("resolve", TXID, typed="7\n1\n\n")
    assert "node old requires numlet<2" in screen
    assert "1: numlet==2.0; overrules numlet<2 (node old)" in screen
    assert "There is no 7." in screen
    assert "gov-transaction-state" in screen


def test_resolve_on_a_terminal_reports_a_missing_report(gov_on: Gov) -> None:
    gov_on.record("needs_resolution")
    assert "no conflict report" in gov_on.on_a_terminal("resolve", TXID, typed="")


def test_conflict_report_without_requirements_is_printed(gov_on: Gov) -> None:
    gov_on.record("needs_resolution", core_impact=("numpy 1.0 -> 2.0",), error="It clashes.")
    report = ConflictReport(
        txid=TXID,
        node_id="depth",
        created_at="2026-11-20T12:00:00Z",
        kind="offline_cache_miss",
        confidence="unparsed",
        summary="No network.",
        edges=(RequirementEdge(source="base", requirement="numpy"),),
        raw_log="/logs/x",
    )
    write_atomic(gov_on.site.layout.conflicts / f"{TXID}.json", to_json(report))
    result = gov_on("tx", "inspect", TXID)
    assert "Conflict (offline cache miss, unparsed): No network." in result.stdout
    assert "Core package: numpy 1.0 -> 2.0" in result.stdout
    assert "It clashes." in result.stderr
