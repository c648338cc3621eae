"""Packages that own the same files, from the trial of a node to production."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.conflicts import resolve
from comfywatchman.governance.environments import generation, integrity
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions.shared_packages import find_dropped
from tests.governance.contexts import Site, build_site
from tests.governance.node_steps import promote_node, try_node
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A root whose index has two packages with the module cv2, and two with a file that no table knows."""
    site = build_site(tmp_path)
    site.configure(tx={"probe": False})
    for name in ("opencv-python", "opencv-python-headless"):
        add_wheel(site.wheels, name, "4.0", files={"cv2/__init__.py": f"name = {name!r}\n", "cv2/same.py": ""})
    for name in ("leftlet", "rightlet"):
        add_wheel(site.wheels, name, "1.0", files={"tests/__init__.py": f"name = {name!r}\n"})
    return site


def _resolve(site: Site, txid: str, keep: Sequence[str]) -> Transaction:
    with site.opened() as context:
        return resolve.resolve(context, txid, (), keep=keep)


def test_pair_is_named_before_it_is_installed_and_one_is_kept(site: Site) -> None:
    promote_node(site, try_node(site, "windows", "opencv-python").txid)
    before = {name: site.layout.truth_file(name).read_bytes() for name in ("pyproject.toml", "uv.lock")}
    tried = try_node(site, "server", "opencv-python-headless")
    assert tried.judgement is not None
    warning = next(finding for finding in tried.judgement.findings if finding.name == "files")
    assert warning.detail.startswith("opencv-python and opencv-python-headless (module cv2) own the same files")
    clashing = promote_node(site, tried.txid)
    assert clashing.status == "needs_resolution"
    assert "opencv-python (in production) and opencv-python-headless (module cv2)" in (clashing.error or "")
    with site.opened() as context:
        report = resolve.read_report(context.layout, tried.txid)
    assert report is not None
    assert (report.kind, report.keep) == ("same_files", ("opencv-python", "opencv-python-headless"))
    resolved = _resolve(site, tried.txid, ["OpenCV_Python"])
    assert (resolved.status, resolved.kept_packages) == ("resolved", ("opencv-python",))
    promoted = promote_node(site, tried.txid)
    assert (promoted.status, promoted.error) == ("promoted", None)
    assert promoted.promotion is not None
    assert promoted.promotion.judgement is not None
    assert site.run_in_production("import cv2; print(cv2.name)") == "opencv-python"
    groups = truth.parse_groups(site.layout.pyproject.read_text())
    assert groups["node-server"] == ("opencv-python", "opencv-python-headless")
    with site.opened() as context:
        registry.unregister(context, "server")
    assert {name: site.layout.truth_file(name).read_bytes() for name in before} == before


def test_only_packages_of_the_report_can_be_kept(site: Site) -> None:
    promote_node(site, try_node(site, "windows", "opencv-python").txid)
    txid = promote_node(site, try_node(site, "server", "opencv-python-headless").txid).txid
    with pytest.raises(Failure, match="'plainlet' is not one of several") as caught:
        _resolve(site, txid, ["plainlet"])
    assert caught.value.code == "gov-bad-pin"
    with pytest.raises(Failure, match="not one of several"):
        find_dropped(None, "plainlet")


def test_shared_files_are_as_one_of_their_packages_has_them(site: Site) -> None:
    promoted = promote_node(site, try_node(site, "both", "leftlet", "rightlet").txid)
    assert promoted.status == "promoted"
    key = generation.current_key(site.layout)
    assert key is not None
    mark = generation.read_mark(site.layout, key)
    assert mark is not None
    assert [(files.packages, files.module) for files in mark.shared] == [(("leftlet", "rightlet"), "tests")]
    environment = generation.environment_dir(site.layout, key)
    path = next(environment.glob("lib/python*/site-packages/tests/__init__.py"))
    contents = [f"name = {name!r}\n" for name in ("leftlet", "rightlet")]
    random.shuffle(contents)
    for content in contents:
        path.unlink()
        path.write_text(content)
        assert integrity.verify(environment, mark.packages).status == "verified"
    path.write_text("name = 'neither'\n")
    report = integrity.verify(environment, mark.packages)
    assert (report.status, report.modified_packages) == ("modified", ("leftlet", "rightlet"))
    installed = integrity.find_installed(environment)
    for package, folder in installed.items():
        changed = integrity.find_changed_files(environment, package, folder)
        assert bool(changed) is (package.name in report.modified_packages)
