from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments.integrity import modified
from comfywatchman.governance.transactions import candidate
from tests.governance.contexts import KeptSite, Site, made


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restored()


def test_a_candidate_has_productions_packages_and_a_pip_of_its_own(site: Site) -> None:
    environment = site.layout.candidates / "tx"
    with site.opened() as ground:
        candidate.make(ground, environment)
    names = {path.name for path in environment.glob("lib/python*/site-packages/*")}
    assert {"corelet", "pip"} <= names
    assert (environment / "bin" / "uv").read_text().startswith("#!/bin/sh\n")
    assert modified(environment, None).status == "verified"


def test_a_candidate_that_cannot_be_written_is_told(site: Site) -> None:
    shutil.rmtree(site.layout.candidates, ignore_errors=True)
    site.layout.candidates.write_text("a file")
    with site.opened() as ground, pytest.raises(Failure, match="it could not be written") as caught:
        candidate.make(ground, site.layout.candidates / "tx")
    assert caught.value.code == "gov-candidate-failed"


def test_a_candidate_whose_packages_are_nowhere_any_more_is_told(site: Site) -> None:
    shutil.rmtree(site.wheels)
    shutil.rmtree(site.folder / "uv-cache")
    with site.opened() as ground, pytest.raises(Failure, match="filled with the packages of production"):
        candidate.make(ground, site.layout.candidates / "tx")


def test_a_package_whose_description_is_gone_requires_nothing_that_is_known(site: Site) -> None:
    key = generation.current(site.layout)
    assert key is not None
    environment = generation.path_of(site.layout, key)
    assert candidate.requires_of(environment) == {"corelet": ()}
    next(environment.glob("lib/python*/site-packages/corelet-*/METADATA")).unlink()
    assert candidate.requires_of(environment) == {}


def test_of_a_candidate_that_is_a_link_only_the_link_goes(site: Site) -> None:
    mine = site.folder / "mine"
    mine.mkdir()
    (mine / "kept.py").write_text("kept")
    link = site.layout.candidates / "tx"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(mine)
    candidate.remove(link)
    assert not link.is_symlink()
    assert (mine / "kept.py").read_text() == "kept"


def test_files_of_production_that_share_a_change_are_told_where_there_is_a_production(tmp_path: Path) -> None:
    site = made(tmp_path, init=False)
    site.configure(runtime={"link_mode": "hardlink"})
    site.init()
    environment = generation.path_of(site.layout, generation.current(site.layout) or "")
    (module,) = environment.glob("lib/python*/site-packages/corelet/__init__.py")
    module.write_text("changed")
    report = modified(environment, None)
    with site.opened() as ground:
        assert candidate.heal(ground, environment, report) == (str(module.relative_to(environment)),)
        site.layout.production.unlink()
        assert candidate.heal(ground, environment, report) == ()
