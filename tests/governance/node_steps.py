"""Nodes of a governed root, registered, tried and promoted as the commands do it."""

from __future__ import annotations

from collections.abc import Mapping

from comfywatchman.governance.conflicts import report
from comfywatchman.governance.nodes.add import AddRequest, add_node
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions import promotion
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.run import run_transaction
from tests.governance.contexts import Site
from tests.governance.packs import create_repository


def register_node(site: Site, name: str, *requirements: str, files: Mapping[str, str] | None = None) -> str:
    """Make a repository of a node, see `packs.repository`, register it, and return its id."""
    pack = create_repository(site.folder / "repositories" / name, *requirements, files=files)
    with site.opened() as context:
        return add_node(context, AddRequest(str(pack), allow_local=True), find_pack=lambda _pack_id: None).id


def try_node(site: Site, name: str, *requirements: str, files: Mapping[str, str] | None = None) -> Transaction:
    """Try a node, registered before unless its repository is there."""
    if not (site.folder / "repositories" / name).exists():
        register_node(site, name, *requirements, files=files)
    with site.opened() as context:
        return run_transaction(context, name)


def promote_node(site: Site, txid: str, **consent: bool | str) -> Transaction:
    """Promote what was tried, with what a person allows, see `Consent`."""
    with site.opened() as context:
        return promotion.promote(context, txid, Consent(**consent), report=report.report_conflict)  # type: ignore[arg-type]
