from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.template_cache import TemplateCache
from comfywatchman.jobs.files.workflows import JobWorkflow
from tests.jobs.files.job_folder import GRAPH


def entry(path: Path) -> JobWorkflow:
    return JobWorkflow(template_path=str(path), required_inputs=[], description="", inputs={}, defaults={})


def test_unchanged_template_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(GRAPH), "utf-8")
    cache = TemplateCache()
    assert cache.load(entry(path)) is cache.load(entry(path))


def test_changed_template_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    cache = TemplateCache()
    with pytest.raises(Failure, match="No such file"):
        cache.load(entry(path))
    before = cache.get_fingerprint(entry(path))
    path.write_text(json.dumps(GRAPH), "utf-8")
    assert cache.load(entry(path)).graph == GRAPH
    assert cache.get_fingerprint(entry(path)) != before
    path.write_text("[]", "utf-8")
    os.utime(path, (1, 1))
    for _ in range(2):
        with pytest.raises(Failure, match="JSON list"):
            cache.load(entry(path))


def test_fingerprint_changes_with_the_entry(tmp_path: Path) -> None:
    one, other = entry(tmp_path / "x"), entry(tmp_path / "x")
    other["required_inputs"].append("prompt")
    cache = TemplateCache()
    assert cache.get_fingerprint(one) == cache.get_fingerprint(entry(tmp_path / "x"))
    assert cache.get_fingerprint(one) != cache.get_fingerprint(other)
