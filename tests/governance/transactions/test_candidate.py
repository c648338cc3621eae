from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments.integrity import verify
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.uv.client import UvResult
from tests.governance.contexts import KeptSite, Site, build_site


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


@pytest.mark.slow
def test_candidate_has_the_packages_of_production_and_pip(site: Site) -> None:
    environment = site.layout.candidates / "tx"
    with site.opened() as context:
        candidate.create(context, environment)
    names = {path.name for path in environment.glob("lib/python*/site-packages/*")}
    assert {"corelet", "pip"} <= names
    assert (environment / "bin" / "uv").read_text().startswith("#!/bin/sh\n")
    assert verify(environment, None).status == "verified"


def test_unwritable_candidate_folder_is_reported(site: Site) -> None:
    shutil.rmtree(site.layout.candidates, ignore_errors=True)
    site.layout.candidates.write_text("a file")
    with site.opened() as context, pytest.raises(Failure, match="it could not be written") as caught:
        candidate.create(context, site.layout.candidates / "tx")
    assert caught.value.code == "gov-candidate-failed"


@pytest.mark.slow
def test_unavailable_packages_are_reported(site: Site) -> None:
    shutil.rmtree(site.wheels)
    shutil.rmtree(site.folder / "uv-cache")
    with site.opened() as context, pytest.raises(Failure, match="its packages could not be installed"):
        candidate.create(context, site.layout.candidates / "tx")


def test_package_without_metadata_has_no_requires(site: Site) -> None:
    key = generation.current_key(site.layout)
    assert key is not None
    environment = generation.environment_dir(site.layout, key)
    assert candidate.read_requires(environment) == {"corelet": ()}
    next(environment.glob("lib/python*/site-packages/corelet-*/METADATA")).unlink()
    assert candidate.read_requires(environment) == {}


def test_deleting_a_linked_candidate_removes_only_the_link(site: Site) -> None:
    mine = site.folder / "mine"
    mine.mkdir()
    (mine / "kept.py").write_text("kept")
    link = site.layout.candidates / "tx"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(mine)
    candidate.delete(link)
    assert not link.is_symlink()
    assert (mine / "kept.py").read_text() == "kept"


@pytest.mark.slow
def test_modified_files_shared_with_production_are_listed(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    site.configure(runtime={"link_mode": "hardlink"})
    site.init()
    environment = generation.environment_dir(site.layout, generation.current_key(site.layout) or "")
    (module,) = environment.glob("lib/python*/site-packages/corelet/__init__.py")
    module.write_text("changed")
    report = verify(environment, None)
    with site.opened() as context:
        assert candidate.evict_modified(context.uv, context.layout, environment, report) == (
            str(module.relative_to(environment)),
        )
        site.layout.production.unlink()
        assert candidate.evict_modified(context.uv, context.layout, environment, report) == ()


@pytest.mark.parametrize(
    ("errors", "output", "excerpt"),
    [
        ("  error: no\n  solution\n", "ignored", "error: no solution"),
        (" \n", "only output\n", "only output"),
        ("", "", "uv printed nothing"),
        ("x" * 2000, "", "x" * 1500),
    ],
)
def test_error_excerpt_is_one_short_line(errors: str, output: str, excerpt: str) -> None:
    with pytest.raises(Failure) as caught:
        candidate._require_success(UvResult(1, output, errors), "it failed")
    assert caught.value.message == f"The candidate environment failed: it failed: {excerpt}."
