"""Writes and reads the master status: the same facts as JSON for programs and as Markdown for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base import files
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import read_regular, write_atomic
from comfywatchman.base.state.state_file import CorruptFile, read_state, set_aside
from comfywatchman.base.state.version import find_later_version_in_text
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.readiness.host_summary import Summary
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.render import RenderCache, render_markdown_cached
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, WorkflowEntry

_MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class ForeignReport:
    """A report that is not about the watched ComfyUI.

    Attributes:
        comfyui: The ComfyUI that it is about; None when it was written by an older version, which did not record it.
        generated_at: When it was written, UTC.
    """

    comfyui: ComfyUIIdentity | None
    generated_at: str


def summarise(entries: Iterable[WorkflowEntry]) -> Summary:
    """Count workflows by verdict, and distinct missing models, node classes and input files."""
    by_status = dict.fromkeys(WorkflowStatus, 0)
    models: set[tuple[str | None, str]] = set()
    unknown_models: set[tuple[str | None, str]] = set()
    nodes: set[str] = set()
    inputs: set[tuple[str, str]] = set()
    unknown_inputs: set[tuple[str, str]] = set()
    answered: dict[str, set[tuple[str | None, str]]] = {"FOUND": set(), "UNCERTAIN": set()}
    unknown_workflows = uncertain_answers = 0
    for entry in entries:
        by_status[entry.status] += 1
        unknown_workflows += entry.obstacle is not None
        for model in entry.missing_models:
            (models if model.obstacle is None else unknown_models).add((model.folder, model.name))
            if model.answer in answered:
                answered[model.answer].add((model.folder, model.name))
        uncertain_answers += any(model.answer == "UNCERTAIN" for model in entry.missing_models)
        nodes |= {node.class_type for node in entry.missing_nodes}
        for missing in entry.missing_inputs:
            (inputs if missing.obstacle is None else unknown_inputs).add((missing.folder, missing.name))
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
        unknown_workflows=unknown_workflows,
        unknown_inputs=len(unknown_inputs),
        found_models=len(answered["FOUND"]),
        uncertain_models=len(answered["UNCERTAIN"]),
        uncertain_model_workflows=uncertain_answers,
    )


def write_report(
    layout: ReadinessLayout,
    status: MasterStatus,
    cache: RenderCache | None = None,
    *,
    complete_commands: Callable[[str], str] = str,
) -> None:
    """Write the JSON file and then the Markdown file; each is written whole or not at all.

    Args:
        layout: Paths of the files.
        status: The report.
        cache: Stores the Markdown, so that an unchanged report is not rendered again.
        complete_commands: Adds to the commands in the Markdown the options that they need.

    Raises:
        Failure: `state-unwritable`.
    """
    _set_later_report_aside(layout.status_json)
    write_atomic(layout.status_json, to_json(status))
    write_atomic(layout.status_markdown, complete_commands(render_markdown_cached(status, cache)).encode())
    failpoint("cycle.after_report")


def _set_later_report_aside(path: Path) -> None:
    """Keep the report of a later version of this program; a cycle needs the place for its own."""
    try:
        content = read_regular(path, max_bytes=_MAX_BYTES)
    except Failure:
        return
    if find_later_version_in_text(content, MasterStatus) is not None:
        set_aside(path, word="later")


def read_report(layout: ReadinessLayout, *, only_look: bool = False) -> MasterStatus | CorruptFile | None:
    """Read the last report; None when there is none yet.

    Args:
        layout: Path of the file.
        only_look: Leave a damaged report where it is instead of setting it aside.
    """
    return read_state(layout.status_json, MasterStatus, only_look=only_look)


def read_own_report(
    layout: ReadinessLayout, comfyui: ComfyUIIdentity | None, *, only_look: bool = False
) -> MasterStatus | ForeignReport | CorruptFile | None:
    """Read the last report if it is about a ComfyUI; None when there is none yet.

    Args:
        layout: Path of the file.
        comfyui: The watched ComfyUI; None when there is none.
        only_look: Leave a damaged report where it is instead of setting it aside.
    """
    report = read_report(layout, only_look=only_look)
    if not isinstance(report, MasterStatus):
        return report
    if comfyui is not None and comfyui.is_same(report.comfyui):
        return report
    return ForeignReport(report.comfyui, report.generated_at)


def to_json(status: MasterStatus) -> bytes:
    """Return the report as JSON: sorted keys, two spaces, a final newline."""
    return files.to_json(status)


def json_schema() -> bytes:
    """Return the JSON Schema of the report, as shipped in docs/reference."""
    schema = msgspec.json.schema(MasterStatus)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"
