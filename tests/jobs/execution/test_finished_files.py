"""Files of finished jobs are moved, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.jobs.execution.finished_files import move_job_file
from tests.jobs.execution.samples import build_job
from tests.jobs.execution.sites import Site, open_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as site:
        yield site


def test_file_moves_beside_its_outputs(site: Site) -> None:
    job = build_job(site.add())
    assert move_job_file(job, site.cfg)
    assert site.list_finished() == [f"image/{job.config_name}"]
    assert not move_job_file(job, site.cfg), "it is done already"


def test_file_outside_the_processing_tree_stays(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "cat.yaml"
    path.write_bytes(b"")
    assert not move_job_file(build_job(replace(site.add(), source_path=str(path))), site.cfg)
    assert not move_job_file(build_job(replace(site.add(), source_path="")), site.cfg)
    assert path.exists()


def test_name_that_is_taken_keeps_both_files(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    job = build_job(site.add())
    (site.cfg.finished / "image" / job.config_name).write_text("another", "utf-8")
    assert not move_job_file(job, site.cfg)
    assert Path(job.spec.source_path).exists()
    assert "job file not moved" in caplog.text
