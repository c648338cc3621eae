"""A pipe in the place of a file is never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.lock import is_held, read_holder
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.environments import access, generation, integrity
from comfywatchman.governance.environments.copy_on_write import is_own_hook
from comfywatchman.governance.transactions import transaction
from tests.governance.contexts import KeptSite, Site


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


def replace_by_pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def package_files(site: Site) -> Path:
    key = generation.current_key(site.layout)
    assert key is not None
    return next(generation.environment_dir(site.layout, key).glob("lib/*/site-packages"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock", "plugins.json"])
def test_checks_report_a_truth_file_that_is_a_pipe(site: Site, name: str) -> None:
    looked = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    replace_by_pipe(site.layout.truth_file(name))
    results = run_checks(looked, driver=GpuDriver(present=False), budget_seconds=None)
    assert {one.status for one in results} - {"ok"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock"])
def test_trial_refuses_a_truth_file_that_is_a_pipe(site: Site, name: str) -> None:
    replace_by_pipe(site.layout.truth_file(name))
    with pytest.raises(Failure, match="not a regular file"):
        transaction.hash_truth_files(site.layout)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["corelet/__init__.py", "corelet-1.0.dist-info/RECORD"])
def test_pipe_instead_of_a_package_file_is_modified(site: Site, name: str) -> None:
    place = package_files(site)
    replace_by_pipe(place / name)
    assert integrity.verify(place.parents[2], None).status == "modified"


@pytest.mark.timeout(120)
def test_pipe_instead_of_the_hook_is_not_recognised(tmp_path: Path) -> None:
    assert not is_own_hook(replace_by_pipe(tmp_path / "_gov_own_copies.pth"))


@pytest.mark.timeout(120)
def test_pipe_instead_of_the_lock_is_not_held(site: Site) -> None:
    replace_by_pipe(site.layout.process_lock)
    assert not is_held(site.layout.process_lock)
    assert read_holder(site.layout.process_lock) is None
