from __future__ import annotations

import pytest

from tests.cli.gov.calls import TXID, Gov

pytestmark = pytest.mark.slow


def test_beginning_of_an_id_and_latest_name_it(gov_on: Gov) -> None:
    gov_on.record("completed")
    snapshot = gov_on.json("snapshot", "list")["snapshots"][0]["id"]
    operation = gov_on.json("op", "list")["operations"][0]["op_id"]
    for text in (TXID, TXID[:10], "latest"):
        assert gov_on.json("tx", "inspect", text)["transaction"]["txid"] == TXID
    for text in (snapshot[:-3], "latest"):
        assert gov_on.json("snapshot", "inspect", text)["meta"]["id"] == snapshot
    for text in (operation[:-3], "latest"):
        assert gov_on.json("op", "inspect", text)["op_id"] == operation
    assert gov_on.json("tx", "abort", "latest")["status"] == "aborted"
    assert snapshot in gov_on("rollback", "latest").stdout
    assert gov_on.json("undo", "latest")["kind"] == "undo"


def test_transaction_of_a_later_version_is_named(gov_on: Gov) -> None:
    gov_on.record("completed")
    path = gov_on.site.layout.transactions / f"{TXID}.json"
    path.write_text(path.read_text().replace('"completed"', '"quarantined"'))
    error = gov_on.json("tx", "inspect", TXID, code=1)
    assert error["code"] == "gov-transaction-unreadable"
    assert "it has the status 'quarantined', which this version does not know" in error["message"]
    assert "quarantined" in gov_on.json("tx", "list")["unreadable"][TXID]
    assert f"Not readable: {TXID}" in gov_on("tx", "list").stderr


def test_malformed_pin_is_wrong_usage(gov_on: Gov) -> None:
    gov_on.record("needs_resolution")
    assert gov_on("resolve", TXID, "--pin", "numlet>=2").exit_code == 2
