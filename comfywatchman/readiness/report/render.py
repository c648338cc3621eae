"""The master status as Markdown: rendered by Jinja2, kept while nothing changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final, Protocol

import msgspec

from comfywatchman import __version__
from comfywatchman.readiness.report import markdown
from comfywatchman.readiness.report.action_builders import plan_command
from comfywatchman.readiness.report.actions import list_actions
from comfywatchman.readiness.report.search_results import site_name
from comfywatchman.readiness.states import MODEL_STATE_TEXT, WorkflowStatus
from comfywatchman.readiness.status import Environment, HostSummary, MasterStatus
from comfywatchman.readiness.verdicts.input_files import describe_missing_inputs

_NOTE: Final = "master status as Markdown"
# Marks in the kept text for what differs in each cycle; letters and digits only, so that escaping leaves them whole.
_CHECKED_AT: Final = "cwCheckedAt90d1"
_VALID_UNTIL: Final = "cwValidUntil90d1"
_GPUS: Final = "cwGpuLines90d1"
_MOST_ACTIONS: Final = 40
_MOST_READY: Final = 50
_MOST_SUPPLIED: Final = 20
_ORDER: Final = {
    WorkflowStatus.INVALID: 0,
    WorkflowStatus.MISSING: 1,
    WorkflowStatus.UNCERTAIN: 2,
    WorkflowStatus.READY: 3,
}


class RenderCache(Protocol):
    """Keeps small texts from cycle to cycle; what it loses is made again."""

    def note(self, name: str) -> str | None:
        """Return a text, or None."""

    def set_note(self, name: str, value: str) -> None:
        """Keep a text."""


def render_markdown(status: MasterStatus) -> str:
    """Return the report as Markdown; every text that comes from files is escaped."""
    still, moving = _split_volatile(status)
    return _fill_placeholders(_render(still), moving)


def render_markdown_cached(status: MasterStatus, memory: RenderCache | None) -> str:
    """Return the report as Markdown, rendered only when something else than times and free memory has changed."""
    if memory is None:
        return render_markdown(status)
    still, moving = _split_volatile(status)
    digest = hashlib.blake2b(msgspec.msgpack.encode(still), digest_size=16)
    digest.update(_read_template().encode())
    digest.update(__version__.encode())
    key, _, text = (memory.note(_NOTE) or "").partition("\n")
    if key != digest.hexdigest():
        text = _render(still)
        memory.set_note(_NOTE, f"{digest.hexdigest()}\n{text}")
    return _fill_placeholders(text, moving)


def _split_volatile(status: MasterStatus) -> tuple[MasterStatus, Mapping[str, str]]:
    """Return the report with marks in the place of what differs in each cycle, and what belongs in their place."""
    moving = {_VALID_UNTIL: status.valid_until, _GPUS: _render_gpu_lines(status.host)}
    if status.checked_at is not None:
        moving[_CHECKED_AT] = status.checked_at
    still = msgspec.structs.replace(
        status,
        generated_at="",
        checked_at=_CHECKED_AT if status.checked_at is not None else None,
        valid_until=_VALID_UNTIL,
        cycle=msgspec.structs.replace(status.cycle, id="", trigger="", started_at="", duration_seconds=0.0),
        host=msgspec.structs.replace(status.host, gpus=(), gpu_status=""),
    )
    return still, moving


def _fill_placeholders(text: str, moving: Mapping[str, str]) -> str:
    for mark, content in moving.items():
        text = text.replace(mark, content)
    return text


def _render_gpu_lines(host: HostSummary) -> str:
    said = {"none": "no NVIDIA GPU", "unknown": "the driver did not answer"}
    lines = [
        f"- GPU {gpu.index} {markdown.escape(gpu.name or '')}: {_format_gib(gpu.memory_free_bytes)} of "
        f"{_format_gib(gpu.memory_total_bytes)} GiB free"
        for gpu in host.gpus
    ]
    return "\n".join(lines) or f"- GPU: {said.get(host.gpu_status, 'none')}"


def _format_gib(count: int | None) -> str:
    return "?" if count is None else f"{count / (1 << 30):.1f}"


def _read_template() -> str:
    return (
        resources.files("comfywatchman.readiness.report")
        .joinpath("templates", "master_status.md.j2")
        .read_text("utf-8")
    )


def _render(status: MasterStatus) -> str:
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - the output is Markdown; `finalize` escapes it as such
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=markdown.escape,
    )
    environment.filters["code"] = markdown.code_span
    environment.filters["sentence"] = markdown.capitalize_first
    environment.filters["said"] = describe_missing_inputs
    environment.filters["site"] = site_name
    environment.filters["words"] = MODEL_STATE_TEXT.__getitem__
    environment.filters["link"] = lambda url: markdown.link(url, url)
    template = environment.from_string(_read_template())
    entries = sorted(status.workflows, key=lambda entry: (_ORDER[entry.status], entry.path))
    ready = [entry for entry in entries if entry.status is WorkflowStatus.READY]
    return template.render(
        status=status,
        headline=headline(status),
        actions=list_actions(status.workflows, status.plan, status.environment),
        environment_words=describe_environment(status.environment),
        entries=entries,
        shown=[entry for entry in entries if entry.status is not WorkflowStatus.READY] + ready[:_MOST_READY],
        most_actions=_MOST_ACTIONS,
        most_supplied=_MOST_SUPPLIED,
        names=shorten_paths(entry.path for entry in status.workflows),
        gpu_lines=markdown.SafeMarkdown(_GPUS),
        plan_command=plan_command(status.plan) if status.plan else "",
        plan_page=f"{status.plan.file.removesuffix('.json')}.md" if status.plan else "",
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


def describe_environment(environment: Environment) -> str:
    """Return how the Python environment is, in one line."""
    if environment.state == "not governed":
        return "not checked: no governed environment (run gov init)"
    if environment.state == "unknown" and not environment.checks:
        return "not checked yet"
    count = len(environment.checks)
    odd = [check.name for check in environment.checks if check.status != "ok"]
    if not odd:
        return f"{count} check{'s' if count != 1 else ''}, all ok"
    return f"{environment.state}: {', '.join(odd)} (of {count} checks)"


def shorten_paths(paths: Iterable[str]) -> Mapping[str, str]:
    """Return each path without the folders that all of them share."""
    listed = list(paths)
    folders = {os.path.dirname(path) for path in listed}
    common = os.path.commonpath(folders) if folders and all(map(os.path.isabs, folders)) else ""
    above = f"{common.rstrip('/')}/" if common else ""
    return {path: path.removeprefix(above) for path in listed}
