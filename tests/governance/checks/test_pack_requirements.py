from __future__ import annotations

from comfywatchman.governance.checks.pack_requirements import PackFacts, judge
from comfywatchman.governance.checks.unmet_requirements import UnmetRequirement
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site

MISSING = PackFacts("VideoHelper", (UnmetRequirement("opencv-python", None), UnmetRequirement("numpy>=2", "1.26")))
OLDER = PackFacts("Depth", (UnmetRequirement("numpy>=2", "1.26"),))


def test_missing_package_fails_and_names_the_pack() -> None:
    result = judge([OLDER, MISSING], registered=["VideoHelper"])
    assert (result.status, result.packs) == ("fail", ("VideoHelper",))
    assert result.items == ("Depth", "VideoHelper")
    assert result.evidence == (
        "1 node pack declares packages that production does not have: VideoHelper (opencv-python)."
    )
    assert result.action == "gov tx run VideoHelper"
    assert not result.vital


def test_other_version_only_warns() -> None:
    result = judge([OLDER], registered=[])
    assert (result.status, result.packs) == ("warn", ())
    assert "Depth (numpy>=2 (installed: 1.26))" in result.evidence
    assert result.action == "gov node add --adopt Depth"


def test_packs_are_read_whether_registered_or_not(site: Site) -> None:
    for folder, line in (("good", "corelet"), ("bad", "plainlet"), ("off.disabled", "plainlet")):
        pack = site.comfyui / "custom_nodes" / folder
        pack.mkdir()
        (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        (pack / "requirements.txt").write_text(f"{line}\n")
    result = run_checks_on(site)["pack-requirements"]
    assert (result.status, result.packs) == ("fail", ("bad",))


def test_nothing_is_claimed_without_production(site: Site) -> None:
    pack = site.comfyui / "custom_nodes" / "bad"
    pack.mkdir()
    (pack / "requirements.txt").write_text("plainlet\n")
    site.layout.production.unlink()
    results = run_checks_on(site)
    assert results["pack-requirements"].status == "ok"
    assert results["production"].status == "fail"
