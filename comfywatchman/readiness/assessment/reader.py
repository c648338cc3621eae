"""Read workflow files: each content once, and media files without a workflow once per change of the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular, printable_path, read_regular
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.embedded.extract import SUFFIXES, EmbeddedWorkflow, extract_workflow
from comfywatchman.readiness.assessment.index import Signature, WorkflowIndex, decode_facts
from comfywatchman.readiness.workflow_facts import (
    WorkflowFacts,
    build_failed_facts,
    build_knowledge_key,
    read_workflow_facts,
)
from comfywatchman.readiness.workflows.discovery import WorkflowFile

JSON_SUFFIXES: Final = frozenset({".json"})
MEDIA_SUFFIXES: Final = SUFFIXES
_INVALID_CONTENT_CODES: Final = frozenset({"file-too-large", "workflow-embedded-invalid"})
"""Codes of files that can be opened but contain no readable workflow."""


@dataclass(frozen=True, slots=True)
class _WorkflowText:
    """A workflow's text and its container.

    The hash is that of the text, so that an image and a JSON file with the same workflow have the same hash.
    """

    container: str
    content: bytes


@dataclass(slots=True)
class WorkflowReader:
    """Reads workflow files and stores their facts.

    Attributes:
        index: Facts of earlier cycles; None reads every file again.
        table: Knowledge of loaders.
        max_bytes: Size above which a JSON file is not parsed.
        read: Number of files opened.
        failures: Why a file could not be opened, by path.
    """

    index: WorkflowIndex | None
    table: LoaderTable
    max_bytes: int
    read: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    # Encoded facts of earlier cycles by content hash; they are decoded only when needed.
    _stored: dict[str, bytes] = field(default_factory=dict)
    _new_facts: dict[str, WorkflowFacts] = field(default_factory=dict)
    # Content hashes of files read in this cycle, by path.
    _hashes: dict[str, str] = field(default_factory=dict)
    _plain_media: set[Signature] = field(default_factory=set)
    _new_plain_media: set[Signature] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.index is not None:
            self._stored = dict(self.index.facts(build_knowledge_key(self.table)))
            self._plain_media = self.index.plain_media()

    def exclude_plain_media(
        self, files: Iterable[WorkflowFile], *, known: Iterable[tuple[int, ...]]
    ) -> list[WorkflowFile]:
        """Return the files without the media files that contain no workflow; only new or changed files are opened.

        Args:
            files: The listed files.
            known: Signatures of files that are known to be workflows.
        """
        workflows = set(known)
        return [file for file in files if not self._is_plain_media(file, workflows)]

    def hash_file(self, path: str) -> str | None:
        """Return the SHA-256 of a file's workflow text and keep its facts; None when it cannot be opened."""
        if path in self._hashes:
            return self._hashes[path]
        try:
            return self._hash_text(self._read_text(path))
        except Failure as failure:
            return self._hash_unparsed(path, failure)

    def describe_failure(self, shown: str) -> str:
        """Return why a file could not be opened, by its shown path."""
        for path, failure in self.failures.items():
            if printable_path(path) == shown:
                return failure.message
        return "The file cannot be read."

    def facts(self, sha256: str, path: str) -> WorkflowFacts | None:
        """Return the facts of a content hash, reading the file when they are not stored.

        None when the file has changed or cannot be opened any more.
        """
        facts = self._new_facts.get(sha256)
        if facts is None and sha256 in self._stored:
            facts = decode_facts(self._stored[sha256])
        if facts is not None:
            return facts
        # A damaged row must not count as stored, or `hash_file` would not parse the file again.
        self._stored.pop(sha256, None)
        self._hashes.pop(path, None)
        if self.hash_file(path) != sha256:
            return None
        return self._new_facts.get(sha256)

    def save(self) -> None:
        """Store new facts in the index, in one transaction for each kind."""
        if self.index is None:
            return
        if self._new_facts:
            self.index.add_facts(build_knowledge_key(self.table), self._new_facts)
        if self._new_plain_media:
            self.index.add_plain_media(self._new_plain_media)

    def _is_plain_media(self, file: WorkflowFile, workflows: set[tuple[int, ...]]) -> bool:
        if _get_suffix(file.path) not in MEDIA_SUFFIXES or file.signature in workflows:
            return False
        if file.signature in self._plain_media:
            return True
        self.read += 1
        try:
            text = _find_embedded_text(extract_workflow(Path(file.path)))
        except Failure as failure:
            sha256 = self._hash_unparsed(file.path, failure)
        else:
            if text is None:
                self._new_plain_media.add(file.signature)
                return True
            sha256 = self._hash_text(text)
        # Kept for `hash_file`, so that the file is not opened twice.
        if sha256 is not None:
            self._hashes[file.path] = sha256
        return False

    def _read_text(self, path: str) -> _WorkflowText:
        self.read += 1
        if _get_suffix(path) not in MEDIA_SUFFIXES:
            return _WorkflowText("json", read_regular(Path(path), max_bytes=self.max_bytes))
        text = _find_embedded_text(extract_workflow(Path(path)))
        if text is None:
            raise Failure("workflow-not-a-workflow", "The file no longer contains a workflow.")
        return text

    def _hash_text(self, text: _WorkflowText) -> str:
        sha256 = hashlib.sha256(text.content).hexdigest()
        if sha256 not in self._stored and sha256 not in self._new_facts:
            facts = read_workflow_facts(text.content, container=text.container, table=self.table)
            self._new_facts[sha256] = facts
        return sha256

    def _hash_unparsed(self, path: str, failure: Failure) -> str | None:
        """Return the hash of a whole file that contains no readable workflow; None when it cannot be opened."""
        if failure.code not in _INVALID_CONTENT_CODES:
            self.failures[path] = failure
            return None
        try:
            sha256 = _hash_whole_file(path)
        except Failure as read_failure:
            self.failures[path] = read_failure
            return None
        suffix = _get_suffix(path)
        container = suffix.lstrip(".") if suffix in MEDIA_SUFFIXES else "json"
        self._new_facts[sha256] = build_failed_facts(container, failure)
        return sha256


def _find_embedded_text(embedded: EmbeddedWorkflow | None) -> _WorkflowText | None:
    """Return the workflow in a media file, or its API prompt when there is only that; None when it has neither."""
    if embedded is None:
        return None
    content = embedded.workflow or embedded.prompt
    if not content:
        return None
    return _WorkflowText(embedded.container, content)


def _hash_whole_file(path: str) -> str:
    with open_regular(Path(path)) as descriptor, open(descriptor, "rb", closefd=False) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _get_suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
