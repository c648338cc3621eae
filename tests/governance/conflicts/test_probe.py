"""Testing parts of the declared requirements, with real uv over tiny wheels."""

from __future__ import annotations

import pytest

from comfywatchman.governance.conflicts.probe import ProbeUndecided, ResolutionProbe
from comfywatchman.governance.store import truth
from comfywatchman.governance.uv.declared_requirements import DeclaredRequirement, parse_declared
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A root whose ComfyUI requires numlet<2; no test changes its truth files."""
    site = build_site(tmp_path_factory.mktemp("site"), requirements=("corelet==1.0", "numlet<2"))
    add_wheel(site.wheels, "midlet", "1.0", requires=["numlet>=1"])
    add_wheel(site.wheels, "midlet", "2.0", requires=["numlet>=2"])
    return site


def test_requirements_resolve_to_versions_or_fail_with_a_message(site: Site) -> None:
    numlet = DeclaredRequirement("base", "numlet<2", "base")
    midlet = DeclaredRequirement("node b", "midlet>=2", "node-b")
    project = truth.set_group(site.layout.pyproject.read_text(), "node-b", [])
    with site.opened() as context:
        probe = ResolutionProbe(context, project)
        assert probe.resolve([numlet]) == {"numlet": "1.0"}
        assert probe.read_error([numlet]) == ""
        assert probe.fails([numlet, midlet])
        assert "midlet" in probe.read_error([midlet, numlet])


def test_nonexistent_version_is_recognised(site: Site) -> None:
    with site.opened() as context:
        probe = ResolutionProbe(context, site.layout.pyproject.read_text())
        assert probe.is_nonexistent("numlet==3.0")
        assert not probe.is_nonexistent("numlet==2.0")


def test_probe_stops_at_its_budget(site: Site) -> None:
    with site.opened() as context:
        text = site.layout.pyproject.read_text()
        lines = parse_declared(text)
        probe = ResolutionProbe(context, text, max_resolutions=1)
        assert not probe.fails(lines)
        assert not probe.fails(lines)
        with pytest.raises(ProbeUndecided, match="too many"):
            probe.fails(lines[:1])
        with pytest.raises(ProbeUndecided, match="too many"):
            ResolutionProbe(context, text, max_seconds=0).fails(lines)


def test_unrelated_failure_of_a_part_is_undecided(site: Site) -> None:
    with site.opened() as context:
        text = site.layout.pyproject.read_text()
        broken = text.replace('required-version = ">=0.12"', 'required-version = ">=99"')
        with pytest.raises(ProbeUndecided, match="another reason"):
            ResolutionProbe(context, broken).fails(parse_declared(text))
