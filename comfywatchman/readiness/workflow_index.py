"""What was read from workflows, kept by content in the index database; a cache that may be deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

import msgspec

from comfywatchman.readiness.database import transaction
from comfywatchman.readiness.facts import Facts
from comfywatchman.readiness.judging import Judged

Signature = tuple[int, int, int, int]


class WorkflowIndex:
    """Facts by content and knowledge, verdicts by content and host, and media files without a workflow.

    Args:
        connection: From `open_database`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def facts(self, knowledge: str) -> Mapping[str, bytes]:
        """Return the stored facts (encoded) of one state of knowledge, by content hash."""
        rows = self._connection.execute("SELECT sha256, facts FROM workflow_facts WHERE knowledge = ?", (knowledge,))
        return dict(rows.fetchall())

    def verdicts(self, context: str) -> dict[str, Judged]:
        """Return the verdicts made against one state of the host, by content hash; a damaged row is left out."""
        rows = self._connection.execute("SELECT sha256, judged FROM workflow_verdicts WHERE context = ?", (context,))
        decoder = msgspec.json.Decoder(Judged)
        return {sha256: decoder.decode(judged) for sha256, judged in rows}

    def plain_media(self) -> set[Signature]:
        """Return the signatures of media files that carry no workflow."""
        return set(self._connection.execute("SELECT device, inode, size, mtime_ns FROM plain_media").fetchall())

    def add_facts(self, knowledge: str, facts: Mapping[str, Facts]) -> None:
        """Keep facts, and forget those of any other state of knowledge."""
        rows = [(sha256, knowledge, msgspec.json.encode(one)) for sha256, one in facts.items()]
        with transaction(self._connection):
            self._connection.execute("DELETE FROM workflow_facts WHERE knowledge <> ?", (knowledge,))
            self._connection.executemany("INSERT OR REPLACE INTO workflow_facts VALUES (?, ?, ?)", rows)

    def add_verdicts(self, context: str, verdicts: Mapping[str, Judged]) -> None:
        """Keep verdicts, and forget those made against any other state of the host."""
        rows = [(sha256, context, msgspec.json.encode(one)) for sha256, one in verdicts.items()]
        with transaction(self._connection):
            self._connection.execute("DELETE FROM workflow_verdicts WHERE context <> ?", (context,))
            self._connection.executemany("INSERT OR REPLACE INTO workflow_verdicts VALUES (?, ?, ?)", rows)

    def add_plain_media(self, signatures: Iterable[Signature]) -> None:
        """Remember media files that carry no workflow."""
        with transaction(self._connection):
            self._connection.executemany("INSERT OR IGNORE INTO plain_media VALUES (?, ?, ?, ?)", list(signatures))


def decode_facts(encoded: bytes) -> Facts | None:
    """Return stored facts; None when the row is damaged."""
    try:
        return msgspec.json.decode(encoded, type=Facts)
    except msgspec.MsgspecError:
        return None
