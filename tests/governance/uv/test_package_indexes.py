"""Packages with an index of their own, where another package requires them: two indexes on this machine, real uv."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.governance.uv.package_indexes import add_indexed_dependencies, write_requirements
from tests.governance import changes
from tests.governance.adoption.old_environments import write_pack
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel
from tests.servers.folder import serve_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A root whose `vislet` comes from an index of its own, as `+cu1`; the default index has another build of it."""
    site = build_site(tmp_path / "site", init=False)
    for package in sorted(site.wheels.glob("*.whl")):
        name = package.name.partition("-")[0]
        (tmp_path / "default" / name).mkdir(parents=True, exist_ok=True)
        package.rename(tmp_path / "default" / name / package.name)
    add_wheel(tmp_path / "default" / "vislet", "vislet", "9.0")
    add_wheel(tmp_path / "default" / "cliplet", "cliplet", "1.0", requires=["vislet>=1"])
    add_wheel(tmp_path / "builds" / "vislet", "vislet", "2.0+cu1", requires=["plainlet"])
    add_wheel(tmp_path / "builds" / "plainlet", "plainlet", "7.0")
    with serve_folder(tmp_path / "default") as default, serve_folder(tmp_path / "builds") as builds:
        site.configure(
            network={"no_index": False, "find_links": [], "index_url": default, "indexes": {builds: ["vislet"]}}
        )
        yield site


def test_dependency_of_a_dependency_comes_from_its_index(site: Site) -> None:
    site.init()
    with site.opened() as context:
        indexes = context.settings.network.indexes
        folder = site.folder / "lines"
        folder.mkdir()
        python = Path(sys.executable)
        assert add_indexed_dependencies(context.uv, folder, ["plainlet"], python=python, indexes=indexes) == (
            "plainlet",
        )
        lines = add_indexed_dependencies(context.uv, folder, ["cliplet"], python=python, indexes=indexes)
        assert lines == ("cliplet", "vislet")
        resolved = context.uv.resolve_files([write_requirements(folder, lines, indexes)], python=python)
        assert 'version = "2.0+cu1"' in resolved.output
        assert add_indexed_dependencies(context.uv, folder, ["absentlet"], python=python, indexes=indexes) == (
            "absentlet",
        )


def test_node_gets_the_build_of_the_index_in_candidate_and_production(site: Site) -> None:
    site.init()
    code = "import importlib.util as u; print(u.find_spec('vislet'))"
    assert site.run_in_production(code) == "None"
    write_pack(site, "clip", "cliplet\n")
    with site.opened() as context:
        tried = changes.add_and_promote(context, "clip")
    assert {"vislet==2.0+cu1", "plainlet==1.0"} <= set(tried.diff.added)
    assert site.run_in_production("import vislet, plainlet; print(vislet.__version__, plainlet.__version__)") == (
        "2.0+cu1 1.0"
    )


def test_removed_index_leaves_the_project(site: Site) -> None:
    site.init()
    assert "explicit" in site.layout.pyproject.read_text()
    site.configure(network={"indexes": {}})
    site.init()
    assert "explicit" not in site.layout.pyproject.read_text()
