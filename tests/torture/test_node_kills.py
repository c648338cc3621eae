"""kill -9 while a node is added, promoted or removed with its code: record, code, transaction and truth agree after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.base import failpoints
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.conflicts import report
from comfywatchman.governance.environments import generation, snapshot, staging
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.add import AddRequest, add_node
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions import promotion, transaction
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.run import run_transaction
from tests.governance.contexts import Site, build_site
from tests.governance.packs import create_repository

CHECKOUT = Path(__file__).parents[2]
POINTS = sorted(name for name in failpoints.NAMES if name.startswith(("gov.before_", "gov.after_", "gov.snapshot_")))
DECIDED = frozenset(name for name in POINTS if name.startswith("gov.after_"))
"""From the journal on a change happens, whatever happens to who made it."""

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = build_site(tmp_path_factory.mktemp("site"))
    site.configure(tx={"probe": False})
    create_repository(site.folder / "pack", "newlet")
    return site


def killed(site: Site, what: str, *rest: str, point: str) -> None:
    """Make a change in a process of its own that kills itself at a point."""
    argv = [sys.executable, "-m", "tests.torture.test_node_kills", str(site.folder), what, *rest]
    own = {**os.environ, "PYTHONPATH": str(CHECKOUT), failpoints.VARIABLE: f"{point}=kill"}
    ended = subprocess.run(argv, env=own, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def recovered(site: Site) -> bool:
    """Open the ground once more, hold that all agrees, and say whether the node is registered."""
    with site.opened():
        pass
    layout = site.layout
    assert not layout.journal.exists()
    assert list(layout.work.iterdir()) == []
    mark = generation.read_mark(layout, generation.current_key(layout))
    assert mark is not None
    assert mark.lock_sha256 == snapshot.hash_contents(snapshot.read_root_files(layout))["uv.lock"]
    imports = ", ".join(package.name for package in mark.packages)
    assert site.run_in_production(f"import {imports}; print('well')") == "well"
    plugin = staging.read_registry(layout).plugins.get("pack")
    groups = truth.parse_groups(layout.pyproject.read_text())
    assert groups.get("node-pack", ()) == (plugin.managed_deps if plugin else ())
    return plugin is not None


def put_back(site: Site) -> None:
    """Make the root one without the node, its code gone."""
    with site.opened() as ground:
        if "pack" in staging.read_registry(site.layout).plugins:
            registry.unregister(ground, "pack", purge_code=True)
    folder = site.comfyui / "custom_nodes/pack"
    if folder.exists():
        folder.rename(site.folder / f"away-{len(list(site.folder.iterdir()))}")


def added(site: Site) -> None:
    with site.opened() as ground:
        add_node(ground, AddRequest(str(site.folder / "pack"), allow_local=True), find_pack=lambda _pack_id: None)


@pytest.mark.parametrize("point", POINTS)
def test_a_node_is_registered_with_its_code_or_not_at_all(site: Site, point: str) -> None:
    put_back(site)
    killed(site, "add", point=point)
    is_registered = recovered(site)
    assert is_registered or point not in DECIDED
    if is_registered:
        assert (site.comfyui / "custom_nodes/pack/__init__.py").is_file()
    assert not list((site.comfyui / "custom_nodes").glob(".pack*"))


@pytest.mark.parametrize("point", POINTS)
def test_a_promotion_and_its_transaction_tell_one_story(site: Site, point: str) -> None:
    put_back(site)
    added(site)
    done = tried(site)
    killed(site, "promote", done.txid, point=point)
    assert recovered(site)
    after = transaction.read(site.layout, done.txid)
    plugin = staging.read_registry(site.layout).plugins["pack"]
    is_promoted = after.status == "promoted"
    assert is_promoted or point not in DECIDED
    assert plugin.managed_deps == (("newlet",) if is_promoted else ())
    assert after.status == ("promoted" if is_promoted else "completed")
    if is_promoted:
        assert after.promotion is not None
        assert plugin.last_snapshot == after.promotion.post_snapshot
        snapshot.read_contents(site.layout, str(plugin.last_snapshot))


@pytest.mark.parametrize("point", POINTS)
def test_a_node_goes_with_its_code_or_not_at_all(site: Site, point: str) -> None:
    put_back(site)
    added(site)
    killed(site, "remove", point=point)
    is_registered = recovered(site)
    assert (site.comfyui / "custom_nodes/pack").exists() == is_registered
    assert not is_registered or point not in DECIDED


_kept: list[Transaction] = []


def tried(site: Site) -> Transaction:
    """Return a trial of the node; the truth is the same each time, so one trial serves all."""
    if not _kept:
        with site.opened() as ground:
            _kept.append(run_transaction(ground, "pack"))
    write_atomic(site.layout.transactions / f"{_kept[0].txid}.json", to_json(_kept[0]))
    return _kept[0]


def main() -> None:
    folder, what, *rest = sys.argv[1:]
    site = Site(Path(folder))
    with site.opened(what) as ground:
        if what == "add":
            add_node(ground, AddRequest(str(site.folder / "pack"), allow_local=True), find_pack=lambda _pack_id: None)
        elif what == "promote":
            promotion.promote(ground, rest[0], Consent(), report=report.report_conflict)
        else:
            registry.unregister(ground, "pack", purge_code=True)


if __name__ == "__main__":
    main()
