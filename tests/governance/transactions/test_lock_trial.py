"""Starts with the packages of a lock, where they are not those that were tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.governance.conflicts import resolve
from comfywatchman.governance.environments import generation
from comfywatchman.governance.store.records import InstalledPackage, Transaction
from comfywatchman.governance.transactions.lock_trial import find_moved_packages
from tests.governance.contexts import Site, build_site
from tests.governance.node_steps import promote_node, try_node

IMPORTS_NODES = """
import pathlib, runpy, sys
base = next(part.partition("=")[2] for part in sys.argv if part.startswith("--base-directory"))
for init in sorted(pathlib.Path(base).glob("custom_nodes/*/__init__.py")):
    runpy.run_path(str(init))
"""
"""A main.py that fails when a node cannot be imported."""

NEEDS_NEW = {"__init__.py": "import numlet\nassert numlet.__version__ == '2.0', 'numlet is too old'\n"}


def test_differences_of_versions_and_packages_are_moves() -> None:
    installed = [InstalledPackage("a", "1"), InstalledPackage("b", "2"), InstalledPackage("new", "1")]
    post = ("a==1", "b==1", "gone==3", "-e file:///src/other", "wheel @ file:///w.whl", "git @ git+https://h/x@1")
    assert find_moved_packages(post, installed, "") == (
        "b 1 -> 2",
        "git git+https://h/x@1 -> none",
        "gone 3 -> none",
        "new none -> 1",
    )


def test_package_at_an_address_counts_only_by_its_version() -> None:
    lock = '[[package]]\nname = "new"\nversion = "1"\nsource = { editable = "/src/other" }\n'
    installed = [InstalledPackage("new", "1"), InstalledPackage("git", "1")]
    assert find_moved_packages(("-e file:///src/other", "git @ git+https://h/x@1"), installed, lock) == ()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A root with a promoted node that wants numlet<2, and a ComfyUI that fails when a node fails."""
    site = build_site(tmp_path)
    site.configure(tx={"probe": False})
    promote_node(site, try_node(site, "old", "oldlet").txid)
    (site.comfyui / "main.py").write_text(IMPORTS_NODES)
    return site


def _resolve(site: Site, txid: str, *pins: str) -> Transaction:
    with site.opened() as context:
        return resolve.resolve(context, txid, pins)


@pytest.mark.slow
def test_pin_with_which_the_node_fails_is_not_promoted(site: Site) -> None:
    clashing = promote_node(site, try_node(site, "new", "newlet", files=NEEDS_NEW).txid)
    assert clashing.status == "needs_resolution"
    assert _resolve(site, clashing.txid, "numlet==1.0").status == "resolved"
    before = generation.current_key(site.layout)
    failed = promote_node(site, clashing.txid)
    assert (failed.status, generation.current_key(site.layout)) == ("promote_failed", before)
    assert "With the locked versions (numlet 2.0 -> 1.0" in (failed.error or "")
    assert "numlet is too old" in (failed.error or "")
    assert list(site.layout.candidates.glob("*.lock")) == []
    assert _resolve(site, clashing.txid).status == "resolved"
    promoted = promote_node(site, clashing.txid, allow_failed_run=True)
    assert promoted.status == "promoted"
    assert promoted.promotion is not None
    assert promoted.promotion.judgement is not None
    assert promoted.promotion.judgement.exit_code == 1


@pytest.mark.slow
def test_pins_are_ranked_by_starts(site: Site) -> None:
    clashing = promote_node(site, try_node(site, "new", "newlet", files=NEEDS_NEW).txid)
    with site.opened() as context:
        report = resolve.read_report(context.layout, clashing.txid)
    assert report is not None
    starts = {start.pin: start.has_started for start in report.starts}
    assert starts["numlet==2.0"] is True
    assert starts["numlet==1.0"] is False
    assert report.suggestions[0] == "numlet==2.0"
    assert [starts[pin] for pin in report.suggestions] == sorted(starts.values(), reverse=True)
    assert next(start.reason for start in report.starts if not start.has_started)
    _resolve(site, clashing.txid, "numlet==2.0")
    promoted = promote_node(site, clashing.txid)
    assert (promoted.status, promoted.error) == ("promoted", None)
