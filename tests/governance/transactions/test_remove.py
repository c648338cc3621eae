from __future__ import annotations

from pathlib import Path

from comfywatchman.governance.transactions import remove, transaction
from tests.governance.contexts import made
from tests.governance.node_steps import tried


def test_what_was_tried_of_a_removed_node_waits_no_longer(tmp_path: Path) -> None:
    site = made(tmp_path)
    site.configure(tx={"probe": False})
    gone, stays = tried(site, "gone", "plainlet"), tried(site, "stays", "plainlet")
    with site.opened() as ground:
        remove.remove(ground, "gone")
    assert transaction.read(site.layout, gone.txid).status == "aborted"
    assert not (site.layout.candidates / gone.txid).exists()
    assert transaction.read(site.layout, stays.txid) == stays
