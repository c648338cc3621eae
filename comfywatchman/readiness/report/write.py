"""Writes and reads the master status: the same facts as JSON for programs and as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from comfywatchman.base import files
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import CorruptFile, read_state, write_atomic
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.render import RenderCache, render_markdown_cached
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, Summary, WorkflowEntry


def summarise(entries: Iterable[WorkflowEntry]) -> Summary:
    """Count workflows by verdict, and distinct missing models, node classes and input files."""
    by_status = dict.fromkeys(WorkflowStatus, 0)
    models: set[tuple[str | None, str]] = set()
    unknown_models: set[tuple[str | None, str]] = set()
    nodes: set[str] = set()
    inputs: set[tuple[str, str]] = set()
    for entry in entries:
        by_status[entry.status] += 1
        for model in entry.missing_models:
            (models if model.obstacle is None else unknown_models).add((model.folder, model.name))
        nodes |= {node.class_type for node in entry.missing_nodes}
        inputs |= {(missing.folder, missing.name) for missing in entry.missing_inputs}
    return Summary(
        workflows=sum(by_status.values()),
        ready=by_status[WorkflowStatus.READY],
        missing=by_status[WorkflowStatus.MISSING],
        uncertain=by_status[WorkflowStatus.UNCERTAIN],
        invalid=by_status[WorkflowStatus.INVALID],
        missing_models=len(models),
        missing_nodes=len(nodes),
        missing_inputs=len(inputs),
        unknown_models=len(unknown_models),
    )


def write_report(layout: ReadinessLayout, status: MasterStatus, cache: RenderCache | None = None) -> None:
    """Write the JSON file and then the Markdown file; each is written whole or not at all.

    Args:
        layout: Paths of the files.
        status: The report.
        cache: Stores the Markdown, so that an unchanged report is not rendered again.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(layout.status_json, to_json(status))
    write_atomic(layout.status_markdown, render_markdown_cached(status, cache).encode())
    failpoint("cycle.after_report")


def read_report(layout: ReadinessLayout, *, only_look: bool = False) -> MasterStatus | CorruptFile | None:
    """Read the last report; None when there is none yet.

    Args:
        layout: Path of the file.
        only_look: Leave a damaged report where it is instead of setting it aside.
    """
    return read_state(layout.status_json, MasterStatus, only_look=only_look)


def to_json(status: MasterStatus) -> bytes:
    """Return the report as JSON: sorted keys, two spaces, a final newline."""
    return files.to_json(status)


def json_schema() -> bytes:
    """Return the JSON Schema of the report, as shipped in docs/reference."""
    schema = msgspec.json.schema(MasterStatus)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"
