"""Templates that are read once while their files stay unchanged."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.reading import FileStamp
from comfywatchman.jobs.files.templates import JobTemplate, load_template
from comfywatchman.jobs.files.workflows import JobWorkflow


@dataclass(slots=True)
class TemplateCache:
    """The templates that were read, and the failures of those that cannot be used."""

    templates: dict[str, tuple[FileStamp | None, JobTemplate | Failure]] = field(default_factory=dict)

    def load(self, entry: JobWorkflow) -> JobTemplate:
        """Return the template of a workflow.

        Raises:
            Failure: `jobs-template-invalid`.
        """
        path = entry["template_path"]
        stamp = _read_stamp(path)
        cached = self.templates.get(path)
        if cached is None or cached[0] != stamp:
            # The stamp is older than the content: a change in between is read next time.
            cached = (stamp, _load(path))
            self.templates[path] = cached
        if isinstance(cached[1], Failure):
            raise cached[1]
        return cached[1]

    def get_fingerprint(self, entry: JobWorkflow) -> str:
        """Return a text that changes with a workflow's entry or its template."""
        return f"{entry!r} {_read_stamp(entry['template_path'])!r}"


def _load(path: str) -> JobTemplate | Failure:
    try:
        return load_template(Path(path))
    except Failure as failure:
        return failure


def _read_stamp(path: str) -> FileStamp | None:
    try:
        return FileStamp.from_stat(os.stat(path))
    except (OSError, ValueError):
        return None
