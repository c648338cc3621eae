"""Reading workflow files: each content once, media files only until it is known that they carry nothing."""

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
"""Codes of files that can be opened, but hold no workflow that can be read."""


@dataclass(frozen=True, slots=True)
class _WorkflowText:
    """A workflow's text and what held it; the hash is that of the text, so that a picture and its JSON agree."""

    container: str
    content: bytes


@dataclass(slots=True)
class WorkflowReader:
    """Reads what has to be read, and remembers it.

    Attributes:
        index: What earlier cycles read; None reads everything anew.
        table: Knowledge of loaders.
        max_bytes: Size above which a JSON file is not parsed.
        read: How many files were opened.
        failures: Why a file could not be opened, by path.
    """

    index: WorkflowIndex | None
    table: LoaderTable
    max_bytes: int
    read: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    _stored: dict[str, bytes] = field(default_factory=dict)
    _fresh: dict[str, WorkflowFacts] = field(default_factory=dict)
    _hashes: dict[str, str] = field(default_factory=dict)
    _plain: set[Signature] = field(default_factory=set)
    _fresh_plain: set[Signature] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.index is not None:
            self._stored = dict(self.index.facts(build_knowledge_key(self.table)))
            self._plain = self.index.plain_media()

    def exclude_plain_media(
        self, files: Iterable[WorkflowFile], *, known: Iterable[tuple[int, ...]]
    ) -> list[WorkflowFile]:
        """Leave out media files that carry no workflow; only those not looked at before are opened.

        Args:
            files: The listed files.
            known: Signatures of files that are known to be workflows.
        """
        workflows = set(known)
        return [file for file in files if not self._is_plain(file, workflows)]

    def hash_file(self, path: str) -> str | None:
        """Return the SHA-256 of a file's workflow text, keeping its facts; None when it cannot be opened."""
        if path in self._hashes:
            return self._hashes[path]
        try:
            return self._hash_text(self._text(path))
        except Failure as failure:
            return self._hash_unparsed(path, failure)

    def reason(self, shown: str) -> str:
        """Return why a file could not be opened, by its shown path."""
        failure = next((one for path, one in self.failures.items() if printable_path(path) == shown), None)
        return failure.message if failure else "The file cannot be read."

    def facts(self, sha256: str, path: str) -> WorkflowFacts | None:
        """Return what the workflow of a known hash names, reading the file where nothing is kept of it.

        None when the file has changed or cannot be opened any more.
        """
        found = self._fresh.get(sha256) or (decode_facts(self._stored[sha256]) if sha256 in self._stored else None)
        if found is not None:
            return found
        self._stored.pop(sha256, None)  # a damaged row, which must not keep the file from being read again
        self._hashes.pop(path, None)
        return self._fresh.get(sha256) if self.hash_file(path) == sha256 else None

    def save(self) -> None:
        """Keep what was read in the index, in one transaction for each kind."""
        if self.index is None:
            return
        if self._fresh:
            self.index.add_facts(build_knowledge_key(self.table), self._fresh)
        if self._fresh_plain:
            self.index.add_plain_media(self._fresh_plain)

    def _is_plain(self, file: WorkflowFile, workflows: set[tuple[int, ...]]) -> bool:
        if _get_suffix(file.path) not in MEDIA_SUFFIXES or file.signature in workflows:
            return False
        if file.signature in self._plain:
            return True
        self.read += 1
        try:
            text = _find_embedded_text(extract_workflow(Path(file.path)))
        except Failure as failure:
            sha256 = self._hash_unparsed(file.path, failure)
        else:
            if text is None:
                self._fresh_plain.add(file.signature)
                return True
            sha256 = self._hash_text(text)
        if sha256 is not None:
            self._hashes[file.path] = sha256
        return False

    def _text(self, path: str) -> _WorkflowText:
        self.read += 1
        if _get_suffix(path) not in MEDIA_SUFFIXES:
            return _WorkflowText("json", read_regular(Path(path), max_bytes=self.max_bytes))
        text = _find_embedded_text(extract_workflow(Path(path)))
        if text is None:
            raise Failure("workflow-not-a-workflow", "The file carries no workflow any more.")
        return text

    def _hash_text(self, text: _WorkflowText) -> str:
        sha256 = hashlib.sha256(text.content).hexdigest()
        if sha256 not in self._stored and sha256 not in self._fresh:
            self._fresh[sha256] = read_workflow_facts(text.content, container=text.container, table=self.table)
        return sha256

    def _hash_unparsed(self, path: str, failure: Failure) -> str | None:
        """Return the hash of a whole file that holds no readable workflow; None when it cannot be opened."""
        if failure.code in _INVALID_CONTENT_CODES:
            try:
                sha256 = _hash_whole_file(path)
            except Failure as gone:
                failure = gone
            else:
                suffix = _get_suffix(path)
                self._fresh[sha256] = build_failed_facts(
                    suffix.lstrip(".") if suffix in MEDIA_SUFFIXES else "json", failure
                )
                return sha256
        self.failures[path] = failure
        return None


def _find_embedded_text(embedded: EmbeddedWorkflow | None) -> _WorkflowText | None:
    content = (embedded.workflow or embedded.prompt) if embedded else None
    return _WorkflowText(embedded.container, content) if embedded and content else None


def _hash_whole_file(path: str) -> str:
    with open_regular(Path(path)) as descriptor, open(descriptor, "rb", closefd=False) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _get_suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
