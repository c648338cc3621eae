from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.governance.transactions import remove, transaction
from tests.governance.contexts import build_site
from tests.governance.node_steps import try_node

pytestmark = pytest.mark.slow


def test_removing_a_node_aborts_its_open_transactions(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    site.configure(tx={"probe": False})
    gone, stays = try_node(site, "gone", "plainlet"), try_node(site, "stays", "plainlet")
    with site.opened() as context:
        remove.remove_node(context, "gone")
    assert transaction.read(site.layout, gone.txid).status == "aborted"
    assert not (site.layout.candidates / gone.txid).exists()
    assert transaction.read(site.layout, stays.txid) == stays
