from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.status import GovStatus, read_node_summaries, read_status, read_transaction_summaries
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode, Transaction
from comfywatchman.governance.uv.client import Uv
from tests.fakes import FakeClock
from tests.governance.contexts import DEFAULT_SETTINGS


@pytest.fixture
def layout(tmp_path: Path) -> GovLayout:
    return GovLayout(tmp_path)


def test_root_before_init_has_no_production(layout: GovLayout, tmp_path: Path) -> None:
    comfyui = tmp_path / "ComfyUI"
    context = GovContext(
        layout=layout,
        settings=DEFAULT_SETTINGS,
        uv=Uv(Path("uv"), {}, DEFAULT_SETTINGS.network),
        clock=FakeClock(),
        comfyui=comfyui,
        custom_nodes=comfyui / "custom_nodes",
        python=Path("python"),
        lock_descriptor=None,
        note="interrupted",
    )
    assert read_status(context) == GovStatus(
        root=str(tmp_path),
        comfyui=str(comfyui),
        prod_env_exists=False,
        lock_exists=False,
        generation=None,
        environment=None,
        python=None,
        packages=0,
        nodes=(),
        transactions_total=0,
        pending=0,
        recent=(),
        snapshots=0,
        note="interrupted",
    )


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
