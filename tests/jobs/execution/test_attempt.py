"""Parts of an attempt that need no worker; whole runs are in test_worker.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.jobs.execution.attempt import find_seeds
from comfywatchman.jobs.records import JobInputFile, JobStatus
from tests.jobs.execution.sites import build_name, open_site


def test_seeds_of_all_nodes_are_found_once() -> None:
    prompt: Prompt = {
        "1": {"inputs": {"seed": 7, "noise_seed": 8}},
        "2": {"inputs": {"seed": 7, "steps": 20}},
        "3": {"inputs": {"seed": ["1", 0]}},
        "4": {},
    }
    assert find_seeds(prompt) == [7, 8]


def test_input_files_are_uploaded_and_named_in_the_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(b"\x89PNG")
    with open_site(tmp_path) as site:
        site.add("loaded", inputs={"image": "in.png"}, input_files=(JobInputFile("image", str(picture), "0" * 64, 4),))
        with site.work() as worker:
            worker.run_once()
        (name,) = site.server.stored.uploads
        assert site.server.submitted[0]["1"]["inputs"]["image"] == name
        result = site.read_result()
    assert result["input_files"][0]["name"] == name
    assert result["input_files"][0]["has_changed"] is True
    assert "input file changed" in caplog.text


def test_input_file_that_vanished_fails_the_job(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        site.add(input_files=(JobInputFile("image", str(tmp_path / "none.png")),))
        with site.work() as worker:
            worker.run_once()
        job = site.store.get(build_name(1))
        assert (job.status, job.error_code) == (JobStatus.FAILED, "file-unreadable")
        assert site.server.submitted == []
