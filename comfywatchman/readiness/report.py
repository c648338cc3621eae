"""Writing the master status: the same facts for programs (JSON) and for people (Markdown)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final

import msgspec

from comfywatchman.base import files
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import Damaged, read_state, write_atomic
from comfywatchman.readiness import markdown
from comfywatchman.readiness.actions import actions
from comfywatchman.readiness.layout import Layout
from comfywatchman.readiness.status import MasterStatus, Summary, WorkflowEntry
from comfywatchman.readiness.verdict import Status

_ORDER: Final = {Status.INVALID: 0, Status.MISSING: 1, Status.UNCERTAIN: 2, Status.READY: 3}


def summarise(entries: Iterable[WorkflowEntry]) -> Summary:
    """Count workflows by verdict, and distinct missing models and node classes."""
    by_status = dict.fromkeys(Status, 0)
    models: set[tuple[str | None, str]] = set()
    nodes: set[str] = set()
    for entry in entries:
        by_status[entry.status] += 1
        models |= {(model.folder, model.name) for model in entry.missing_models}
        nodes |= {node.class_type for node in entry.missing_nodes}
    return Summary(
        workflows=sum(by_status.values()),
        ready=by_status[Status.READY],
        missing=by_status[Status.MISSING],
        uncertain=by_status[Status.UNCERTAIN],
        invalid=by_status[Status.INVALID],
        missing_models=len(models),
        missing_nodes=len(nodes),
    )


def write_report(layout: Layout, status: MasterStatus) -> None:
    """Write both files, the JSON first; each is whole or not written at all.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(layout.status_json, to_json(status))
    write_atomic(layout.status_markdown, to_markdown(status).encode())
    failpoint("cycle.after_report")


def read_report(layout: Layout) -> MasterStatus | Damaged | None:
    """Read the last report back; None when there is none yet."""
    return read_state(layout.status_json, MasterStatus)


def to_json(status: MasterStatus) -> bytes:
    """Return the report as JSON: sorted keys, two spaces, a final newline."""
    return files.to_json(status)


def to_markdown(status: MasterStatus) -> str:
    """Return the report as Markdown; every text that comes from files is escaped."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - the output is Markdown; `finalize` escapes it as such
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=markdown.escape,
    )
    environment.filters["code"] = markdown.code
    environment.filters["sentence"] = markdown.sentence
    environment.filters["link"] = lambda url: markdown.link(url, url)
    template = environment.from_string(
        resources.files("comfywatchman.readiness").joinpath("templates", "master_status.md.j2").read_text("utf-8")
    )
    entries = sorted(status.workflows, key=lambda entry: (_ORDER[entry.status], entry.path))
    return template.render(
        status=status,
        headline=headline(status),
        actions=actions(status.workflows),
        entries=entries,
        names=short_names(entry.path for entry in status.workflows),
    )


def headline(status: MasterStatus) -> str:
    """Return the one line that says how the host stands."""
    summary = status.summary
    if status.checked_at is None:
        return "This ComfyUI host has not been checked yet"
    if summary.workflows == 0:
        return "This ComfyUI host has no workflows"
    if summary.ready == summary.workflows == 1:
        return "The only workflow is ready"
    if summary.ready == summary.workflows:
        return f"All {summary.workflows} workflows are ready"
    return f"{summary.ready} of {summary.workflows} workflows are ready"


def short_names(paths: Iterable[str]) -> Mapping[str, str]:
    """Return each path without the folders that all of them share."""
    listed = list(paths)
    folders = {os.path.dirname(path) for path in listed}
    common = os.path.commonpath(folders) if folders and all(map(os.path.isabs, folders)) else ""
    return {path: os.path.relpath(path, common) if common else path for path in listed}


def json_schema() -> bytes:
    """Return the JSON Schema of the report, as shipped in docs/reference."""
    schema = msgspec.json.schema(MasterStatus)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"
