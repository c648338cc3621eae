"""Resolving changed copies of the truth files, with real uv over tiny wheels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from comfywatchman.governance.conflicts.trial_resolution import find_extras, find_overrides, resolve_versions
from comfywatchman.governance.environments.snapshot import read_root_files
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.uv.client import UvResult
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A root with a locked dependency on an extra; no test changes its truth files for others."""
    site = build_site(tmp_path_factory.mktemp("site"), requirements=("corelet==1.0", "numlet<2", "weblet"), init=False)
    add_wheel(site.wheels, "midlet", "1.0", requires=["numlet>=2"])
    add_wheel(site.wheels, "fastlet", "1.0", extras={"more": ["corelet"]})
    add_wheel(site.wheels, "weblet", "1.0", requires=["fastlet[more]"])
    site.init()
    return site


def test_resolution_changes_nothing_of_the_root(site: Site) -> None:
    before = read_root_files(site.layout)
    project = truth.set_group(site.layout.pyproject.read_text(), "node-b", ["plainlet"])
    with site.opened() as context:
        versions = resolve_versions(context, project)
        failure = resolve_versions(context, truth.set_group(project, "node-b", ["midlet"]))
    assert isinstance(versions, dict)
    assert versions["plainlet"] == "1.0"
    assert isinstance(failure, UvResult)
    assert read_root_files(site.layout) == before


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (
            [RequirementEdge(source="midlet==1.0", requirement="numlet>=2")],
            ({"package": {"name": "midlet"}, "dependencies": ["numlet==1.0"]},),
        ),
        ([], ("numlet==1.0",)),
    ],
)
def test_overrides_are_scoped_to_known_packages(
    site: Site, edges: Sequence[RequirementEdge], expected: Sequence[Override]
) -> None:
    project = truth.set_group(site.layout.pyproject.read_text(), "node-b", ["midlet"])

    def edit(overrides: Sequence[Override]) -> str:
        return truth.set_overrides(project, overrides)

    with site.opened() as context:
        assert find_overrides(context, ["numlet==1.0"], edit, edges=edges, extras={}) == expected


def test_extras_are_found_without_a_candidate(site: Site, tmp_path: Path) -> None:
    for environment in ("", str(tmp_path / "missing")):
        assert find_extras(site.layout, "", environment=environment) == {"fastlet": {"more"}}
    assert find_extras(site.layout, '[dependency-groups]\na = ["x[y]"]', environment="")["x"] == {"y"}
    lock = site.layout.uv_lock.read_bytes()
    site.layout.uv_lock.write_text("[[[")
    assert find_extras(site.layout, "", environment="") == {}
    site.layout.uv_lock.write_bytes(lock)
