"""What was read from workflows, kept by content in the index database; a cache that may be deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from comfywatchman.readiness.database import Database, TableStore, to_signed, to_unsigned
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict
from comfywatchman.readiness.workflow_facts import WorkflowFacts

Signature = tuple[int, int, int, int]


class WorkflowIndex(TableStore):
    """Facts by content and knowledge, verdicts by content and host, and media files without a workflow.

    Args:
        database: The open database.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, name="workflow index")

    def facts(self, knowledge: str) -> Mapping[str, bytes]:
        """Return the stored facts (encoded) of one state of knowledge, by content hash."""
        return dict(self.read("SELECT sha256, facts FROM workflow_facts WHERE knowledge = ?", (knowledge,)))

    def verdicts(self, context: str) -> dict[str, WorkflowVerdict]:
        """Return the verdicts made against one state of the host, by content hash; a damaged row is left out."""
        found = {}
        decoder = msgspec.json.Decoder(WorkflowVerdict)
        for sha256, judged in self.read("SELECT sha256, judged FROM workflow_verdicts WHERE context = ?", (context,)):
            try:
                found[sha256] = decoder.decode(judged)
            except msgspec.MsgspecError:
                continue
        return found

    def plain_media(self) -> set[Signature]:
        """Return the signatures of media files that carry no workflow."""
        rows = self.read("SELECT device, inode, size, mtime_ns FROM plain_media")
        return {(to_unsigned(device), to_unsigned(inode), size, mtime_ns) for device, inode, size, mtime_ns in rows}

    def add_facts(self, knowledge: str, facts: Mapping[str, WorkflowFacts]) -> None:
        """Keep facts, and forget those of any other state of knowledge."""
        rows = [(sha256, knowledge, msgspec.json.encode(one)) for sha256, one in facts.items()]
        self.write(
            [
                ("DELETE FROM workflow_facts WHERE knowledge <> ?", [(knowledge,)]),
                ("INSERT OR REPLACE INTO workflow_facts VALUES (?, ?, ?)", rows),
            ]
        )

    def add_verdicts(self, context: str, verdicts: Mapping[str, WorkflowVerdict]) -> None:
        """Keep verdicts, and forget those made against any other state of the host."""
        rows = [(sha256, context, msgspec.json.encode(one)) for sha256, one in verdicts.items()]
        self.write(
            [
                ("DELETE FROM workflow_verdicts WHERE context <> ?", [(context,)]),
                ("INSERT OR REPLACE INTO workflow_verdicts VALUES (?, ?, ?)", rows),
            ]
        )

    def add_plain_media(self, signatures: Iterable[Signature]) -> None:
        """Remember media files that carry no workflow."""
        rows = [(to_signed(device), to_signed(inode), size, mtime_ns) for device, inode, size, mtime_ns in signatures]
        self.write([("INSERT OR IGNORE INTO plain_media VALUES (?, ?, ?, ?)", rows)])


def decode_facts(encoded: bytes) -> WorkflowFacts | None:
    """Return stored facts; None when the row is damaged."""
    try:
        return msgspec.json.decode(encoded, type=WorkflowFacts)
    except msgspec.MsgspecError:
        return None
