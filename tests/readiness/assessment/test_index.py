"""Workflow facts and verdicts in the index database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.readiness.assessment.index import WorkflowIndex, decode_facts
from comfywatchman.readiness.assessment.reader import WorkflowReader
from comfywatchman.readiness.database import Database, open_database, to_signed
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict
from comfywatchman.readiness.workflow_facts import read_workflow_facts
from tests.hosts import graph
from tests.model_files import put


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path / "index.sqlite")


def test_facts_of_another_knowledge_key_are_deleted(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        facts = read_workflow_facts(graph(), container="json", table=load_builtin_table())
        index.add_facts("old key", {"a": facts})
        assert decode_facts(index.facts("old key")["a"]) == facts
        index.add_facts("new key", {"b": facts})
        assert index.facts("old key") == {}
        assert list(index.facts("new key")) == ["b"]


def test_damaged_facts_decode_to_none() -> None:
    assert decode_facts(b"{") is None


def test_verdicts_of_another_host_are_deleted(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        ready = WorkflowVerdict(status=WorkflowStatus.READY, container="json")
        index.add_verdicts("one", {"a": ready})
        assert index.verdicts("one") == {"a": ready}
        index.add_verdicts("two", {"b": ready})
        assert (index.verdicts("one"), index.verdicts("two")) == ({}, {"b": ready})


def test_damaged_verdict_is_ignored(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        ready = WorkflowVerdict(status=WorkflowStatus.READY, container="json")
        index.add_verdicts("one", {"a": ready, "b": ready})
        index.write([("UPDATE workflow_verdicts SET judged = ? WHERE sha256 = 'a'", [(b"{",)])])
        assert index.verdicts("one") == {"b": ready}


def test_signatures_of_any_size_are_stored(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        signatures = {(2**64 - 1, 2**63, 5, 6), (1, 2, 3, 4)}
        index.add_plain_media(signatures)
        index.add_plain_media(signatures)
        assert index.plain_media() == signatures
        assert [to_signed(2**63 - 1), to_signed(2**63), to_signed(2**64 - 1)] == [2**63 - 1, -(2**63), -1]


def test_database_error_is_reported_and_facts_stay_usable(tmp_path: Path, database: Database) -> None:
    index = WorkflowIndex(database)
    database.close()
    path = put(tmp_path / "a.json", graph())
    reader = WorkflowReader(index, load_builtin_table(), max_bytes=1 << 20)
    assert reader.hash_file(str(path)) is not None
    reader.save()
    assert index.problems
    with pytest.raises(sqlite3.ProgrammingError):
        database.connection.execute("SELECT 1")
