from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.status import read_node_summaries, read_transaction_summaries
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode, Transaction


@pytest.fixture
def layout(tmp_path: Path) -> GovLayout:
    return GovLayout(tmp_path)


def test_nodes_are_sorted_by_id_without_case(layout: GovLayout) -> None:
    nodes = {}
    for name in ("b", "A"):
        nodes[name] = RegisteredNode(id=name, git_url="", ref="", path="", group=f"node-{name}", managed_deps=("x",))
    write_atomic(layout.plugins, to_json(NodeRegistry(plugins=nodes)))
    assert [(node.id, node.requirements) for node in read_node_summaries(layout)] == [("A", 1), ("b", 1)]


def test_damaged_registry_has_no_nodes(layout: GovLayout) -> None:
    write_atomic(layout.plugins, b"{")
    assert read_node_summaries(layout) == ()


def test_transactions_are_newest_first_without_unreadable_ones(layout: GovLayout) -> None:
    for txid in ("20261120T120000Z-0000000a", "20261121T120000Z-0000000a"):
        record = Transaction(txid=txid, node_id="a", started_at="", status="completed")
        write_atomic(layout.transactions / f"{txid}.json", to_json(record))
    write_atomic(layout.transactions / "20261122T120000Z-0000000a.json", b"{")
    assert [summary.txid[:8] for summary in read_transaction_summaries(layout)] == ["20261121", "20261120"]
