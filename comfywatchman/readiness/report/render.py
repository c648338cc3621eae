"""Renders the master status as Markdown with Jinja2; an unchanged report is not rendered again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from comfywatchman import __version__
from comfywatchman.readiness.host_summary import HostSummary
from comfywatchman.readiness.report import markdown
from comfywatchman.readiness.report.action_builders import plan_command
from comfywatchman.readiness.report.actions import list_actions
from comfywatchman.readiness.report.search_results import site_name
from comfywatchman.readiness.states import MODEL_STATE_TEXT, WorkflowStatus
from comfywatchman.readiness.status import Environment, MasterStatus
from comfywatchman.readiness.verdicts.input_files import describe_missing_inputs

if TYPE_CHECKING:
    import jinja2

_CACHE_NAME: Final = "master status as Markdown"
# Placeholders for the values that differ in each cycle. They hold letters and digits only, so that escaping leaves them
# whole, and a suffix that no file name is likely to hold.
_CHECKED_AT: Final = "cwCheckedAt90d1"
_VALID_UNTIL: Final = "cwValidUntil90d1"
_GPUS: Final = "cwGpuLines90d1"

_MAX_ACTIONS: Final = 40
_MAX_READY: Final = 50
_MAX_SUPPLIED: Final = 20
_STATUS_ORDER: Final = (
    WorkflowStatus.INVALID,
    WorkflowStatus.MISSING,
    WorkflowStatus.UNCERTAIN,
    WorkflowStatus.READY,
)
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
    values = {_VALID_UNTIL: status.valid_until, _GPUS: _render_gpu_lines(status.host)}
    if status.checked_at is not None:
        values[_CHECKED_AT] = status.checked_at
    stable = msgspec.structs.replace(
        status,
        generated_at="",
        checked_at=_CHECKED_AT if status.checked_at is not None else None,
        valid_until=_VALID_UNTIL,
        cycle=msgspec.structs.replace(status.cycle, id="", trigger="", started_at="", duration_seconds=0.0),
        host=msgspec.structs.replace(status.host, gpus=(), gpu_status=""),
    )
    return stable, values


def _fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def _render_gpu_lines(host: HostSummary) -> str:
    lines = []
    for gpu in host.gpus:
        name = markdown.escape(gpu.name or "")
        free, total = _format_gib(gpu.memory_free_bytes), _format_gib(gpu.memory_total_bytes)
        lines.append(f"- GPU {gpu.index} {name}: {free} of {total} GiB free")
    if not lines:
        lines.append(f"- GPU: {_GPU_STATUS_TEXT.get(host.gpu_status, 'none')}")
    return "\n".join(lines)


def _format_gib(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / (1 << 30):.1f}"


def _read_template() -> str:
    folder = resources.files("comfywatchman.readiness.report").joinpath("templates")
    return folder.joinpath("master_status.md.j2").read_text("utf-8")


def _render(status: MasterStatus) -> str:
    workflows = sorted(status.workflows, key=lambda entry: (_STATUS_ORDER.index(entry.status), entry.path))
    ready = [entry for entry in workflows if entry.status is WorkflowStatus.READY]
    others = [entry for entry in workflows if entry.status is not WorkflowStatus.READY]
    command, page = "", ""
    if status.plan is not None:
        command = plan_command(status.plan)
        page = status.plan.file.removesuffix(".json") + ".md"
    return _open_template().render(
        status=status,
        headline=headline(status),
        actions=list_actions(status.workflows, status.plan, status.environment, status.start_problems),
        environment_text=describe_environment(status.environment),
        entries=workflows,
        # A long list of what is well would bury the rest.
        shown=others + ready[:_MAX_READY],
        max_actions=_MAX_ACTIONS,
        max_supplied=_MAX_SUPPLIED,
        names=shorten_paths(entry.path for entry in status.workflows),
        gpu_lines=markdown.SafeMarkdown(_GPUS),
        plan_command=command,
        plan_page=page,
    )


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
    environment.filters["missing_inputs_text"] = describe_missing_inputs
    environment.filters["site"] = site_name
    environment.filters["state_text"] = MODEL_STATE_TEXT.__getitem__
    environment.filters["link"] = lambda url: markdown.link(url, url)
    return environment.from_string(_read_template())


def headline(status: MasterStatus) -> str:
    """Return one line with the state of the host."""
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
    """Describe the state of the Python environment in one line."""
    if environment.state == "not governed":
        return "not checked: no governed environment (run gov init)"
    if environment.state == "unknown" and not environment.checks:
        return "not checked yet"
    count = len(environment.checks)
    not_ok = [check.name for check in environment.checks if check.status != "ok"]
    if not_ok:
        return f"{environment.state}: {', '.join(not_ok)} (of {count} checks)"
    return f"{count} check{'s' if count != 1 else ''}, all ok"


def shorten_paths(paths: Iterable[str]) -> Mapping[str, str]:
    """Return for each path its form without the folders that all of them share."""
    paths = list(paths)
    folders = {os.path.dirname(path) for path in paths}
    prefix = ""
    # Without this check commonpath raises for a mix of absolute and relative paths.
    if folders and all(os.path.isabs(folder) for folder in folders):
        prefix = os.path.commonpath(folders).rstrip("/") + "/"
    return {path: path.removeprefix(prefix) for path in paths}
