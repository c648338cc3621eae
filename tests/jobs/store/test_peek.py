"""Names of jobs for the shell's completion."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.jobs.store.job_store import open_store
from comfywatchman.jobs.store.peek import peek_names
from tests.jobs.jobs import SPEC


def test_names_that_begin_with_the_word_are_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs 100%.db"
    with open_store(url) as store:
        store.upsert(SPEC)
    before = sorted(tmp_path.iterdir())
    assert peek_names(url, SPEC.config_name[:5], limit=5) == [SPEC.config_name]
    assert peek_names(url, "", limit=5) == [SPEC.config_name]
    assert peek_names(url, "zzz", limit=5) == []
    assert {path.name for path in tmp_path.iterdir()} >= {path.name for path in before}


@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_nothing_is_created_or_reported(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "jobs.db"
    if content is not None:
        path.write_bytes(content)
    assert peek_names(f"sqlite:///{path}", "", limit=5) == []
    assert path.exists() == (content is not None)


def test_other_machine_is_not_asked() -> None:
    assert peek_names("postgresql+psycopg://user@198.51.100.1/jobs", "", limit=5) == []
