"""Workflow facts and verdicts by content key in the index database; a cache that may be deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from comfywatchman.base.json_values import decode_json
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.readiness.database import Database, TableStore, to_signed, to_unsigned
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict
from comfywatchman.readiness.workflow_facts import READER_VERSION, WorkflowFacts

Signature = tuple[int, int, int, int]


class _StoredReferences(msgspec.Struct, frozen=True):
    """The part of stored facts that names models: the rest is not even decoded."""

    references: tuple[Reference, ...] = ()


class WorkflowIndex(TableStore):
    """Stores facts by content and loader knowledge, verdicts by content and host, and media files without a workflow.

    Args:
        database: The open database.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, name="workflow index")

    def facts(self, knowledge: str) -> Mapping[str, bytes]:
        """Return the stored facts (encoded) for one knowledge key, by content key."""
        # Decoding is left to the caller: most cycles need the facts of no workflow, since its verdict is stored.
        return dict(self.read("SELECT sha256, facts FROM workflow_facts WHERE knowledge = ?", (knowledge,)))

    def references(self) -> dict[str, tuple[Reference, ...]]:
        """Return the model references of all stored workflows by content key, without damaged rows."""
        references = {}
        decoder = msgspec.json.Decoder(_StoredReferences)
        for sha256, encoded in self.read("SELECT sha256, facts FROM workflow_facts", ()):
            try:
                references[sha256] = decoder.decode(encoded).references
            except msgspec.MsgspecError:
                continue
        return references

    def verdicts(self, context: str) -> dict[str, WorkflowVerdict]:
        """Return the stored verdicts for one state of the host, by content key, without damaged rows."""
        verdicts = {}
        decoder = msgspec.json.Decoder(WorkflowVerdict)
        rows = self.read("SELECT sha256, judged FROM workflow_verdicts WHERE context = ?", (context,))
        for sha256, encoded in rows:
            try:
                verdicts[sha256] = decoder.decode(encoded)
            except msgspec.MsgspecError:
                continue
        return verdicts

    def plain_media(self) -> set[Signature]:
        """Return the signatures of media files that contain no workflow."""
        signatures = set()
        query = "SELECT device, inode, size, mtime_ns FROM plain_media WHERE reader = ?"
        for device, inode, size, mtime_ns in self.read(query, (READER_VERSION,)):
            signatures.add((to_unsigned(device), to_unsigned(inode), size, mtime_ns))
        return signatures

    def add_facts(self, knowledge: str, facts: Mapping[str, WorkflowFacts]) -> None:
        """Store facts, and delete those of any other knowledge key."""
        rows = [(sha256, knowledge, msgspec.json.encode(workflow)) for sha256, workflow in facts.items()]
        self.write(
            [
                ("DELETE FROM workflow_facts WHERE knowledge <> ?", [(knowledge,)]),
                ("INSERT OR REPLACE INTO workflow_facts VALUES (?, ?, ?)", rows),
            ]
        )

    def add_verdicts(self, context: str, verdicts: Mapping[str, WorkflowVerdict]) -> None:
        """Store verdicts, and delete those for any other state of the host."""
        rows = [(sha256, context, msgspec.json.encode(verdict)) for sha256, verdict in verdicts.items()]
        self.write(
            [
                ("DELETE FROM workflow_verdicts WHERE context <> ?", [(context,)]),
                ("INSERT OR REPLACE INTO workflow_verdicts VALUES (?, ?, ?)", rows),
            ]
        )

    def add_plain_media(self, signatures: Iterable[Signature]) -> None:
        """Store the signatures of media files that contain no workflow."""
        rows = []
        for device, inode, size, mtime_ns in signatures:
            rows.append((to_signed(device), to_signed(inode), size, mtime_ns, READER_VERSION))
        self.write(
            [
                ("DELETE FROM plain_media WHERE reader <> ?", [(READER_VERSION,)]),
                ("INSERT OR IGNORE INTO plain_media VALUES (?, ?, ?, ?, ?)", rows),
            ]
        )


def decode_facts(encoded: bytes) -> WorkflowFacts | None:
    """Decode stored facts; None when the row is damaged."""
    try:
        return decode_json(encoded, WorkflowFacts)
    except msgspec.MsgspecError:
        return None
