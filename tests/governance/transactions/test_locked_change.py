from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments.rollback import undo
from comfywatchman.governance.store.governed import has_governed_files
from comfywatchman.governance.store.records import NodeRegistry
from comfywatchman.governance.transactions.locked_change import ChangeOutcome, LockedChange, try_change
from comfywatchman.governance.transactions.packages import add_packages, pin_packages, remove_packages
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow

SPOILER = """
import importlib.util, sys
if importlib.util.find_spec("spoillet"):
    sys.exit("spoillet broke the start")
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = build_site(tmp_path)
    add_wheel(site.wheels, "spoillet", "1.0")
    (site.comfyui / "main.py").write_text(SPOILER)
    return site


def add(site: Site, *lines: str, approved: tuple[str, ...] = ()) -> ChangeOutcome:
    change = LockedChange(
        kind="package",
        ref="packages",
        note="",
        edit=lambda work: work.edit_project(lambda text: add_packages(text, lines)),
        approved=approved,
    )
    with site.opened() as context:
        return try_change(context, change)


def test_package_is_added_after_a_start_and_can_be_undone(site: Site) -> None:
    before = site.layout.uv_lock.read_bytes()
    outcome = add(site, "deeplet")
    assert outcome.operation is not None
    assert set(outcome.diff.added) == {"deeplet==1.0", "plainlet==1.0", "numlet==2.0"}
    assert site.run_in_production("import deeplet, plainlet; print('well')") == "well"
    assert list(site.layout.candidates.iterdir()) == []
    with site.opened() as context:
        undo(context, outcome.operation.op_id)
    assert site.layout.uv_lock.read_bytes() == before
    assert has_governed_files(site.layout)


def test_package_that_breaks_the_start_is_left(site: Site) -> None:
    before = site.layout.uv_lock.read_bytes()
    outcome = add(site, "spoillet")
    assert outcome.operation is None
    assert outcome.judgement.findings[0].status == "fail"
    assert "Production starts without the change." in outcome.judgement.findings[0].detail
    assert site.layout.uv_lock.read_bytes() == before
    assert list(site.layout.candidates.iterdir()) == []


def test_core_packages_move_only_when_they_are_named(site: Site) -> None:
    site.configure(policy={"core_packages": ["numlet"]})
    with pytest.raises(Failure, match=r"numlet none -> 1\.0") as caught:
        add(site, "oldlet")
    assert caught.value.code == "gov-core-approval"
    assert add(site, "numlet<2", approved=("NumLet",)).operation is not None


def test_package_with_the_files_of_another_is_refused(site: Site) -> None:
    for name in ("opencv-python", "opencv-python-headless"):
        add_wheel(site.wheels, name, "4.0", files={"cv2/__init__.py": f"name = {name!r}\n"})
    add(site, "opencv-python")
    before = site.layout.uv_lock.read_bytes()
    with pytest.raises(Failure, match=r"opencv-python and opencv-python-headless \(module cv2\) own") as caught:
        add(site, "opencv-python-headless")
    assert caught.value.code == "gov-needs-resolution"
    assert "gov package remove" in (caught.value.hint or "")
    assert site.layout.uv_lock.read_bytes() == before


def test_pin_moves_a_dependency_and_a_contradiction_changes_nothing(site: Site) -> None:
    add(site, "deeplet")

    def pin(version: str, *, overrules: bool = False) -> ChangeOutcome:
        edit = lambda text: pin_packages(text, [f"numlet=={version}"], NodeRegistry(), overrules=overrules)  # noqa: E731
        with site.opened() as context:
            return try_change(context, LockedChange("package", "numlet", "", lambda work: work.edit_project(edit)))

    assert pin("1.0").operation is not None
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"
    with pytest.raises(Failure, match="numlet") as caught:
        add(site, "newlet")
    assert caught.value.code == "gov-lock-failed"
    with site.opened() as context:
        drop = LockedChange(
            "package",
            "numlet",
            "",
            lambda work: work.edit_project(lambda text: remove_packages(text, ["numlet"], NodeRegistry())),
        )
        assert try_change(context, drop).operation is not None
    assert add(site, "newlet").operation is not None
    assert pin("1.0", overrules=True).operation is not None
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"
