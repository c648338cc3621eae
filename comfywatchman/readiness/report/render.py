"""Renders the master status as Markdown with Jinja2, and limits its lists; an unchanged one is not rendered again."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from comfywatchman import __version__
from comfywatchman.base.clock import format_future, format_local, parse_utc
from comfywatchman.base.text import pluralize
from comfywatchman.readiness.host_summary import HostSummary
from comfywatchman.readiness.plan_summary import PlanSummary
from comfywatchman.readiness.report import markdown
from comfywatchman.readiness.report.environment_text import describe_environment
from comfywatchman.readiness.report.folds import build_folds
from comfywatchman.readiness.report.missing_rows import describe_missing_row
from comfywatchman.readiness.report.overview import HEADLINE_STEPS, build_overview
from comfywatchman.readiness.report.step_text import (
    HostFacts,
    StepPart,
    describe_plan,
    describe_step,
    quote_command,
)
from comfywatchman.readiness.report.troubles import list_troubles
from comfywatchman.readiness.status import MasterStatus, UnreadFolder

if TYPE_CHECKING:
    import jinja2

_CACHE_NAME: Final = "master status as Markdown"
# Placeholders for the values that differ in each cycle. They hold letters and digits only, so that escaping leaves them
# whole, and a suffix that no file name is likely to hold.
_CHECKED_AT: Final = "cwCheckedAt90d1"
_VALID_UNTIL: Final = "cwValidUntil90d1"
_WATCHED_UNTIL: Final = "cwWatchedUntil90d1"
_GPUS: Final = "cwGpuLines90d1"

_RETRY_AT: Final = "cwRetryAt90d1"

_MAX_TROUBLES: Final = 3
_MAX_STEP_LINES: Final = 18
_GPU_STATUS_TEXT: Final = {"none": "no NVIDIA GPU", "unknown": "the driver did not answer"}


class RenderCache(Protocol):
    """Stores small texts from cycle to cycle; it may lose them."""

    def note(self, name: str) -> str | None:
        """Return a text, or None."""

    def set_note(self, name: str, value: str) -> None:
        """Store a text."""


def render_markdown(status: MasterStatus) -> str:
    """Render the report as Markdown; every text that comes from files is escaped."""
    stable, values = _split_volatile(status)
    return _fill_placeholders(_render(stable), values)


def render_markdown_cached(status: MasterStatus, cache: RenderCache | None) -> str:
    """Render the report as Markdown, from the cache when nothing but times and free GPU memory has changed.

    Args:
        status: The report.
        cache: Holds the Markdown of the last report; None renders without a cache.
    """
    if cache is None:
        return render_markdown(status)
    stable, values = _split_volatile(status)
    key = _compute_cache_key(stable)
    cached_key, _, text = (cache.note(_CACHE_NAME) or "").partition("\n")
    if cached_key != key:
        text = _render(stable)
        cache.set_note(_CACHE_NAME, f"{key}\n{text}")
    return _fill_placeholders(text, values)


def _compute_cache_key(stable: MasterStatus) -> str:
    digest = hashlib.blake2b(msgspec.msgpack.encode(stable), digest_size=16)
    # An upgrade can change the template, or the code that fills it.
    digest.update(_read_template().encode())
    digest.update(__version__.encode())
    return digest.hexdigest()


def _split_volatile(status: MasterStatus) -> tuple[MasterStatus, Mapping[str, str]]:
    """Replace the values that differ in each cycle by placeholders.

    Returns:
        The report with placeholders, and the value of each placeholder.
    """
    values = {_GPUS: _render_host_lines(status.host)}
    if status.checked_at is not None:
        checked = parse_utc(status.checked_at)
        values[_CHECKED_AT] = format_local(checked)
        values[_WATCHED_UNTIL] = format_future(parse_utc(status.watched_until or status.valid_until), checked)
        retry_at = next((trouble.retry_at for trouble in list_troubles(status) if trouble.retry_at), None)
        values[_RETRY_AT] = format_future(parse_utc(retry_at), checked) if retry_at else ""
    stable = msgspec.structs.replace(
        status,
        generated_at="",
        checked_at=_CHECKED_AT if status.checked_at is not None else None,
        valid_until=_VALID_UNTIL,
        watched_until=_WATCHED_UNTIL,
        cycle=msgspec.structs.replace(status.cycle, id="", trigger="", started_at="", duration_seconds=0.0),
        host=msgspec.structs.replace(status.host, gpus=(), gpu_status="", supervisor=None),
    )
    return stable, values


def _fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def _render_host_lines(host: HostSummary) -> str:
    lines = _render_gpu_lines(host)
    if host.supervisor is not None:
        lines.append(f"- Supervised: {markdown.escape(host.supervisor.sentence)}")
    return "\n".join(lines)


def _render_gpu_lines(host: HostSummary) -> list[str]:
    lines = []
    for gpu in host.gpus:
        name = markdown.escape(gpu.name or "")
        free, total = _format_gib(gpu.memory_free_bytes), _format_gib(gpu.memory_total_bytes)
        lines.append(f"- GPU {gpu.index} {name}: {free} of {total} GiB free")
    if not lines:
        lines.append(f"- GPU: {_GPU_STATUS_TEXT.get(host.gpu_status, 'none')}")
    return lines


def _format_gib(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / (1 << 30):.1f}"


def _read_template() -> str:
    folder = resources.files("comfywatchman.readiness.report").joinpath("templates")
    return folder.joinpath("master_status.md.j2").read_text("utf-8")


def _render(status: MasterStatus) -> str:
    names = shorten_paths(entry.path for entry in status.workflows)
    overview = build_overview(status)
    host = HostFacts(status.host.comfyui_version, status.environment.state != "not governed")
    parts = [describe_step(step, host) for step in overview.steps]
    shown = _count_shown_steps(parts)
    plan, plan_rest = describe_plan(overview, shown)
    troubles = list_troubles(status)
    return _open_template().render(
        status=status,
        headline=headline(status),
        plan=plan,
        plan_rest=plan_rest,
        steps=list(zip(overview.steps, parts, strict=True))[:shown],
        troubles=troubles[:_MAX_TROUBLES],
        more_troubles=troubles[_MAX_TROUBLES:],
        missing=[(describe_missing_row(row), row) for row in overview.missing],
        folds=build_folds(status, overview, names),
        host=describe_host(status),
        gpu_lines=markdown.SafeMarkdown(_GPUS),
        retry_at=_RETRY_AT,
        indent=markdown.SafeMarkdown("&nbsp;&nbsp;"),
        plan_command=plan_command(status.plan) if status.plan is not None else "",
        environment_text=describe_environment(status.environment),
    )


def _count_shown_steps(parts: Sequence[Sequence[StepPart]]) -> int:
    """Return how many steps fit on one screen; the first three are shown in any case."""
    lines = 0
    for number, step in enumerate(parts):
        lines += sum(2 + (len(part.paths) if len(part.paths) > 1 else 0) for part in step)
        if lines > _MAX_STEP_LINES and number >= HEADLINE_STEPS:
            return number
    return len(parts)


@functools.cache
def _open_template() -> jinja2.Template:
    # Imported here because most cycles change nothing and render nothing.
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
    environment.filters["link"] = lambda url: markdown.link(url, url)
    environment.filters["shell"] = quote_command
    return environment.from_string(_read_template())


def headline(status: MasterStatus) -> str:
    """Return one line with the state of the host."""
    if status.checked_at is None:
        return "No check has run yet"
    summary = status.summary
    unread = describe_unread(summary.unknown_workflows, status.unread_folders)
    if summary.workflows == 0:
        return f"No workflows found; {unread} could not be read" if unread else "No workflows found"
    text = f"{summary.ready} of {summary.workflows} workflows ready"
    return f"{text}; {unread} could not be read" if unread else text


def describe_host(status: MasterStatus) -> str:
    """Describe which ComfyUI on which host the report is about, without its folder."""
    host = status.host
    state = "running" if host.comfyui_running else "not running"
    if host.ignored_server:
        # Another ComfyUI, or one that cannot be identified, responds at its URL.
        state = "not queried"
    name = f"Host {status.comfyui.hostname}, " if status.comfyui is not None and status.comfyui.hostname else ""
    version = f" {host.comfyui_version}" if host.comfyui_version else " of unknown version"
    return f"{name}ComfyUI{version} ({state})"


def describe_unread(unknown_workflows: int, folders: Iterable[UnreadFolder]) -> str:
    """Describe how many workflows and folders could not be read, as a noun; empty when all were read."""
    # Folders whose workflows are known are counted by these.
    unknown_folders = sum(folder.workflows == 0 for folder in folders)
    if not unknown_folders:
        return str(unknown_workflows or "")
    text = pluralize(unknown_folders, "folder")
    return f"{pluralize(unknown_workflows, 'workflow')} and {text}" if unknown_workflows else text


def plan_command(plan: PlanSummary) -> str:
    """Return the command that fetches a plan."""
    return f"comfywatchman download --plan {plan.file.rpartition('/')[2]}"


def shorten_paths(paths: Iterable[str]) -> Mapping[str, str]:
    """Return for each path its form without the folders that all of them share."""
    paths = list(paths)
    folders = {os.path.dirname(path) for path in paths}
    prefix = ""
    # Without this check commonpath raises for a mix of absolute and relative paths.
    if folders and all(os.path.isabs(folder) for folder in folders):
        prefix = os.path.commonpath(folders).rstrip("/") + "/"
    return {path: path.removeprefix(prefix) for path in paths}
