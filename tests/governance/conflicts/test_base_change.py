"""`gov init` when ComfyUI and the nodes want different versions, and when packages own the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.conflicts.base_change import init_with_choices
from comfywatchman.governance.conflicts.resolve import read_report
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.uv_lock import parse_packages
from tests.governance.contexts import Site, build_site
from tests.governance.node_steps import promote_node, try_node
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A root with a node that wants numlet<2, whose ComfyUI wants numlet>=2 since its last update."""
    site = build_site(tmp_path)
    site.configure(tx={"probe": False})
    promote_node(site, try_node(site, "old", "oldlet").txid)
    (site.comfyui / "requirements.txt").write_text("corelet==1.0\nnumlet>=2\n")
    return site


def test_conflict_with_a_node_is_reported_and_pinned(site: Site) -> None:
    before = {name: site.layout.truth_file(name).read_bytes() for name in ("pyproject.toml", "uv.lock")}
    with site.opened() as context:
        with pytest.raises(Failure, match=r"numlet>=2 \(ComfyUI\) and oldlet \(node old\) cannot be met") as caught:
            init_with_choices(context)
        report = read_report(context.layout, "init")
    assert caught.value.code == "gov-needs-resolution"
    assert report is not None
    assert report.confidence == "verified"
    assert "numlet==2.0" in report.suggestions
    assert [start.has_started for start in report.starts] == [True] * len(report.suggestions)
    assert {name: site.layout.truth_file(name).read_bytes() for name in before} == before
    with site.opened() as context:
        init_with_choices(context, pins=["NumLet == 2.0"])
    assert site.run_in_production("import numlet, oldlet; print(numlet.__version__)") == "2.0"
    with site.opened() as context:
        assert init_with_choices(context) is None


def test_pin_that_does_not_exist_is_named(site: Site) -> None:
    with site.opened() as context, pytest.raises(Failure, match=r"The pinned numlet==9\.0 does not exist"):
        init_with_choices(context, pins=["numlet==9.0"])


def test_one_of_several_packages_is_kept(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    for name in ("opencv-python", "opencv-python-headless"):
        add_wheel(site.wheels, name, "4.0", files={"cv2/__init__.py": f"name = {name!r}\n"})
    (site.comfyui / "requirements.txt").write_text("opencv-python\nopencv-python-headless\n")
    site.init()
    with site.opened() as context:
        with pytest.raises(Failure, match="'numpy' is not one of several") as caught:
            init_with_choices(context, keep=["numpy"])
        init_with_choices(context, keep=["opencv_python"])
    assert caught.value.code == "gov-bad-pin"
    assert site.run_in_production("import cv2; print(cv2.name)") == "opencv-python"
    assert truth.parse_groups(site.layout.pyproject.read_text())["kept"] == ("opencv-python",)
    locked = {package.name for package in parse_packages(site.layout.uv_lock.read_text())}
    assert locked == {"opencv-python"}
