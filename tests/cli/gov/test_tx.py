"""`gov tx …` and what goes before and after it, for a person and for a program."""

from __future__ import annotations

import pytest

from comfywatchman.cli.gov import tx
from comfywatchman.governance.store.records import PackageDiff, Promotion, PromotionPlan, Transaction
from tests.cli.gov.calls import TXID, Gov

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_empty_list_suggests_the_first_trial(gov_on: Gov) -> None:
    assert "gov tx run NODE" in gov_on("tx", "list").stdout


@pytest.mark.slow
def test_list_shows_added_packages(gov_on: Gov) -> None:
    gov_on.record("completed", diff=PackageDiff(added=("plainlet==1.0",)))
    shown = gov_on("tx", "list").stdout
    assert TXID in shown
    assert "plainlet==1.0" in shown


def test_inspect_shortens_packages_except_in_json(gov_on: Gov) -> None:
    added = tuple(f"p{number}==1.0" for number in range(10))
    plan = PromotionPlan(unparseable=("-e .",))
    gov_on.record("resolved", diff=PackageDiff(added=added), resolution_pins=("p1==1.0",), promotion_plan=plan)
    shown = gov_on("tx", "inspect", TXID).stdout
    assert "+ p7==1.0" in shown
    assert "p8" not in shown
    assert "… and 2 more" in shown
    assert "Not governed: -e ." in shown
    assert "Next: gov tx promote" in shown
    assert gov_on.json("tx", "inspect", TXID)["transaction"]["diff"]["added"] == list(added)


@pytest.mark.slow
def test_abort_json_returns_the_record(gov_on: Gov) -> None:
    gov_on.record("completed")
    assert gov_on.json("tx", "abort", TXID)["status"] == "aborted"


@pytest.mark.slow
def test_failed_promotion_exits_with_1_and_prints_the_next_step(gov_on: Gov) -> None:
    gov_on.pack("depth")
    gov_on("node", "add", "--adopt", "depth")
    txid = gov_on.json("tx", "run", "depth")["txid"]
    gov_on.site.configure(tx={"smoke_test_cmd": "exit 3"})
    result = gov_on("tx", "promote", txid)
    assert result.exit_code == 1
    assert "status 3" in result.stderr
    assert f"gov resolve {txid} and gov tx promote {txid}" in result.stdout


def test_failed_run_is_allowed_for_one_transaction_only(gov_on: Gov) -> None:
    result = gov_on("tx", "promote", TXID, f"{TXID[:-1]}b", "--allow-failed-run")
    assert result.exit_code == 2
    assert "--allow-failed-run promotes one transaction" in result.stderr


@pytest.mark.slow
def test_every_step_has_json_output(gov_on: Gov) -> None:
    gov_on.pack("depth")
    assert gov_on.json("node", "add", "--adopt", "depth")["id"] == "depth"
    txid = gov_on.json("tx", "run", "depth")["txid"]
    assert gov_on.json("tx", "promote", txid)["status"] == "promoted"
    row = gov_on("node", "list").stdout
    assert "as recorded" in row
    assert gov_on.json("node", "remove", "depth", "--purge-code")["kind"] == "remove"
    assert "No node is registered" in gov_on("node", "list").stdout
    assert not (gov_on.site.comfyui / "custom_nodes" / "depth").exists()


def test_promotion_prints_violations_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    promotion = Promotion(status="promoted", violations=("numlet wants x",), differences=("numlet 1.0 -> 2.0",))
    tx._print_promoted(Transaction(txid=TXID, node_id="depth", started_at="", status="promoted", promotion=promotion))
    said = capsys.readouterr().out
    assert "not pinned: numlet wants x" in said
    assert "than the tried one: numlet 1.0 -> 2.0" in said
    assert "take this back" not in said


@pytest.mark.slow
def test_several_nodes_are_tried_and_promoted_together(gov_on: Gov) -> None:
    gov_on.pack("depth", "plainlet")
    gov_on.pack("pose", "numlet<2")
    gov_on("node", "add", "--adopt", "--all")
    tried = gov_on.json("tx", "run", "--all")
    assert [(record["node_id"], record["status"]) for record in tried] == [
        ("depth", "completed"),
        ("pose", "completed"),
    ]
    promoted = gov_on("tx", "promote", *[record["txid"] for record in tried])
    assert promoted.exit_code == 0, promoted.output
    assert "depth, pose were promoted" in promoted.stdout
    assert "requirements of all registered nodes" in gov_on("tx", "run", "--all").stdout
    shown = gov_on("tx", "run", "depth", "pose").stdout
    assert "Next, promote them together: gov tx promote" in shown
    assert gov_on("tx", "run").exit_code == 2


@pytest.mark.slow
def test_one_of_several_nodes_fails(gov_on: Gov) -> None:
    gov_on.pack("depth", "plainlet")
    gov_on.pack("lost", "absentlet")
    gov_on("node", "add", "--adopt", "--all")
    result = gov_on("tx", "run", "depth", "lost")
    assert result.exit_code == 1
    assert "absentlet" in result.stdout
    assert result.stdout.count("completed") == 1
