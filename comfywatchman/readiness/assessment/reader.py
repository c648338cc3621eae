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
from comfywatchman.comfyui.workflow.budget import ReadingBudget
from comfywatchman.comfyui.workflow.embedded.extract import SUFFIXES, extract_workflow
from comfywatchman.readiness.assessment.index import Signature, WorkflowIndex, decode_facts
from comfywatchman.readiness.workflow_facts import (
    WorkflowFacts,
    build_failed_facts,
    build_knowledge_key,
    read_workflow_facts,
)
from comfywatchman.readiness.workflows.discovery import WorkflowFile
from comfywatchman.readiness.workflows.intake_log import get_size

JSON_SUFFIXES: Final = frozenset({".json"})
MEDIA_SUFFIXES: Final = SUFFIXES
_INVALID_CONTENT_CODES: Final = frozenset({"file-too-large", "workflow-embedded-invalid", "workflow-too-large"})
"""Codes of files that can be opened but contain no readable workflow."""

_END_BYTES: Final = 1 << 20
_MAX_HASHED_BYTES: Final = 256 << 20
"""Size up to which a file that is too large to be read is hashed whole; of a larger one, only the ends are."""


def build_content_key(path: str, sha256: str) -> str:
    """Return the key of what was read from a file: its content and how it was read.

    The same bytes may hold a workflow as `a.json` and none as `a.png`, and a broken file is of the kind in its name.
    """
    return f"{sha256}:{_get_suffix(path)}" if _is_media(path) else sha256


@dataclass(frozen=True, slots=True)
class _MediaContent:
    """The workflow in a media file.

    Attributes:
        signature: The file's signature before it was read; None when it cannot be examined.
        container: The kind of file.
        text: The workflow, or the API prompt when there is only that; None when it has neither.
        failure: Why the file cannot be read.
        budget: What is left of the cost of reading the file.
    """

    signature: Signature | None
    container: str = ""
    text: bytes | None = None
    failure: Failure | None = None
    budget: ReadingBudget | None = None


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
    # Facts by content key; those of earlier cycles are encoded, and decoded only when needed.
    _stored: dict[str, bytes] = field(default_factory=dict)
    _new_facts: dict[str, WorkflowFacts] = field(default_factory=dict)
    # Content hashes of files read in this cycle, by path.
    _hashes: dict[str, str] = field(default_factory=dict)
    _plain_media: set[Signature] = field(default_factory=set)
    _new_plain_media: set[Signature] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.index is not None:
            self._stored = dict(self.index.facts(self.knowledge_key))
            self._plain_media = self.index.plain_media()

    @property
    def knowledge_key(self) -> str:
        """Changes when the same file would give different facts."""
        return build_knowledge_key(self.table, max_bytes=self.max_bytes)

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
        """Return a file's SHA-256 and keep its facts; None when it cannot be opened."""
        if path in self._hashes:
            return self._hashes[path]
        if _is_media(path):
            return self._hash_media(path, self._open_media(path))
        self.read += 1
        try:
            content = read_regular(Path(path), max_bytes=self.max_bytes)
        except Failure as failure:
            return self._hash_unparsed(path, failure)
        sha256 = hashlib.sha256(content).hexdigest()
        self._keep_facts(path, sha256, content, container="json")
        return sha256

    def describe_failure(self, shown: str) -> str:
        """Return why a file could not be opened, by its shown path."""
        for path, failure in self.failures.items():
            if printable_path(path) == shown:
                return failure.message
        return "The file cannot be read."

    def facts(self, sha256: str, path: str) -> WorkflowFacts | None:
        """Return the facts of a file with this content, reading it when they are not stored.

        None when the file has changed or cannot be opened any more.
        """
        key = build_content_key(path, sha256)
        facts = self._new_facts.get(key)
        if facts is None and key in self._stored:
            facts = decode_facts(self._stored[key])
        if facts is not None:
            return facts
        # A damaged row must not count as stored, or `hash_file` would not parse the file again.
        self._stored.pop(key, None)
        self._hashes.pop(path, None)
        new_sha256 = self.hash_file(path)
        if new_sha256 is not None and new_sha256 != sha256 and self._hash_ends(path) == sha256:
            # It was too large when it was acknowledged, and the limit has been raised since.
            self._new_facts[key] = self._new_facts[build_content_key(path, new_sha256)]
            return self._new_facts[key]
        return self._new_facts.get(key) if new_sha256 == sha256 else None

    def save(self) -> None:
        """Store new facts in the index, in one transaction for each kind."""
        if self.index is None:
            return
        if self._new_facts:
            self.index.add_facts(self.knowledge_key, self._new_facts)
        if self._new_plain_media:
            self.index.add_plain_media(self._new_plain_media)

    def _is_plain_media(self, file: WorkflowFile, workflows: set[tuple[int, ...]]) -> bool:
        if not _is_media(file.path) or file.signature in workflows:
            return False
        if file.signature in self._plain_media:
            return True
        media = self._open_media(file.path)
        if media.text is None and media.failure is None:
            self._new_plain_media.add(file.signature)
            return True
        sha256 = self._hash_media(file.path, media)
        # Kept for `hash_file`, so that the file is not opened twice.
        if sha256 is not None:
            self._hashes[file.path] = sha256
        return False

    def _open_media(self, path: str) -> _MediaContent:
        self.read += 1
        signature = _read_signature(path)
        budget = ReadingBudget()
        try:
            embedded = extract_workflow(Path(path), budget)
        except Failure as failure:
            return _MediaContent(signature, failure=failure)
        if embedded is None:
            return _MediaContent(signature)
        # Most media files have both; the API prompt lacks what is muted.
        text = embedded.workflow or embedded.prompt or None
        return _MediaContent(signature, embedded.container, text, budget=budget)

    def _hash_media(self, path: str, media: _MediaContent) -> str | None:
        """Return the SHA-256 of a media file and keep its facts; None when it cannot be opened or has no workflow."""
        failure = media.failure
        if failure is None and media.text is None:
            failure = Failure("workflow-not-a-workflow", "The file no longer contains a workflow.")
        if failure is not None:
            return self._hash_unparsed(path, failure)
        sha256 = self._hash_whole_file(path)
        # Otherwise the workflow is that of an older content; the next look at the file reads both.
        if sha256 is not None and media.text is not None and _read_signature(path) == media.signature:
            self._keep_facts(path, sha256, media.text, container=media.container, budget=media.budget)
        return sha256

    def _hash_unparsed(self, path: str, failure: Failure) -> str | None:
        """Return the hash of a file that contains no readable workflow; None when it cannot be opened."""
        if failure.code not in _INVALID_CONTENT_CODES:
            self.failures[path] = failure
            return None
        is_huge = failure.code == "file-too-large" and get_size(Path(path)) > _MAX_HASHED_BYTES
        sha256 = self._hash_ends(path) if is_huge else self._hash_whole_file(path)
        if sha256 is not None:
            container = _get_suffix(path).lstrip(".") if _is_media(path) else "json"
            if failure.code == "file-too-large":
                failure = Failure(failure.code, f"The file is larger than {self.max_bytes >> 20} MiB.")
            self._new_facts[build_content_key(path, sha256)] = build_failed_facts(container, failure)
        return sha256

    def _hash_ends(self, path: str) -> str | None:
        """Return a hash of the size, the beginning and the end of a file that is too large to be read."""
        try:
            with open_regular(Path(path)) as descriptor:
                size = os.fstat(descriptor).st_size
                ends = os.pread(descriptor, _END_BYTES, 0), os.pread(descriptor, _END_BYTES, max(0, size - _END_BYTES))
        except Failure as failure:
            self.failures[path] = failure
            return None
        return hashlib.sha256(b"%d\0%b%b" % (size, *ends)).hexdigest()

    def _hash_whole_file(self, path: str) -> str | None:
        try:
            with open_regular(Path(path)) as descriptor, open(descriptor, "rb", closefd=False) as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except Failure as failure:
            self.failures[path] = failure
            return None

    def _keep_facts(
        self, path: str, sha256: str, content: bytes, *, container: str, budget: ReadingBudget | None = None
    ) -> None:
        key = build_content_key(path, sha256)
        if key not in self._stored and key not in self._new_facts:
            self._new_facts[key] = read_workflow_facts(content, container=container, table=self.table, budget=budget)


def _read_signature(path: str) -> Signature | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _is_media(path: str) -> bool:
    return _get_suffix(path) in MEDIA_SUFFIXES


def _get_suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
