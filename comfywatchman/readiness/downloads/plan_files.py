"""Download plans on disk: JSON for programs, Markdown for people."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import orjson

from comfywatchman.base.address import parse_address
from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, to_json, write_if_changed
from comfywatchman.base.text import format_size, pluralize
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, needs_download

_MAX_PLANS: Final = 20
_MAX_BYTES: Final = 32 << 20
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


def plans_folder(home: Home) -> Path:
    """Return the folder of the plans."""
    return home.output / "plans"


def write_plan(home: Home, plan: DownloadPlan, *, complete_commands: Callable[[str], str] = str) -> Path:
    """Write a plan as `<cycle>.json` and `<cycle>.md`, delete the oldest ones, and return the path of the JSON.

    Args:
        home: Where the plans are.
        plan: The plan.
        complete_commands: Adds to the commands in the Markdown the options that they need.

    Raises:
        Failure: `state-unwritable`.
    """
    path = plans_folder(home) / f"{plan.cycle}.json"
    # The JSON comes last: it is what makes the plan known.
    markdown = complete_commands(render_markdown(plan))
    write_if_changed(path.with_suffix(".md"), markdown.encode("utf-8", "backslashreplace"))
    write_if_changed(path, to_json(plan))
    for old_plan in _list_newest_first(home)[_MAX_PLANS:]:
        for old_file in (old_plan, old_plan.with_suffix(".md")):
            with suppress(OSError):
                old_file.unlink()
    return path


def read_plan(path: Path) -> DownloadPlan:
    """Read a plan, which a person may have edited.

    Raises:
        Failure: `download-plan-invalid`, or one of `read_regular`.
    """
    try:
        return msgspec.convert(orjson.loads(read_regular(path, max_bytes=_MAX_BYTES)), DownloadPlan)
    except (ValueError, RecursionError) as error:
        raise Failure(
            "download-plan-invalid",
            f"{printable_path(path)} is not a valid download plan: {error}.",
            hint="Correct the line, or write a new plan: comfywatchman --run-cycle",
        ) from error


def read_newest_plan(home: Home, comfyui: ComfyUIIdentity | None) -> DownloadPlan | None:
    """Return the newest plan for a ComfyUI; None if there is none.

    Args:
        home: Where the plans are.
        comfyui: The watched ComfyUI; plans for others, and of older versions, are passed over.

    Raises:
        Failure: As `read_plan`.
    """
    if comfyui is None:
        return None
    for path in _list_newest_first(home):
        plan = read_plan(path)
        if comfyui.is_same(plan.comfyui):
            return plan
    return None


def render_markdown(plan: DownloadPlan) -> str:
    """Return a plan as Markdown; markup in names and URLs is escaped."""
    return "\n".join(_render_lines(plan)) + "\n"


def format_item_size(item: PlanItem) -> str:
    """Return the size of an item, for people."""
    if item.size is not None:
        return format_size(item.size)
    if item.about_bytes is not None:
        return f"about {format_size(item.about_bytes)}"
    return "unknown"


def _render_lines(plan: DownloadPlan) -> Iterator[str]:
    downloads = [item for item in plan.items if needs_download(item)]
    linked = [item for item in plan.items if item.blocked is None and item.same_as is not None]
    yield f"# Download plan {_escape_markdown(plan.cycle)}"
    yield ""
    yield f"Made at {plan.made_at}. {pluralize(len(downloads), 'file')}, {_format_total(downloads)}."
    yield "Nothing is downloaded yet. To download all of it, or only some:"
    yield ""
    yield f"    comfywatchman download --plan {plan.cycle}.json"
    yield "    comfywatchman download NAME..."
    yield from _render_table("To download", downloads)
    yield from _render_table("Here already under another name: will be linked", linked)
    blocked = [f"{item.filename}: {item.blocked}" for item in plan.items if item.blocked is not None]
    yield from _render_list("Not possible at present", blocked)
    yield from _render_list("To be chosen by a person (`comfywatchman resolve --choose`)", plan.to_choose)
    if plan.disks:
        yield from ("", "## Disks", "", "| folder | free now | free afterwards |", "|---|---|---|")
    for disk in plan.disks:
        free_after = _format_free_space(disk.free_after_bytes)
        yield f"| {_escape_markdown(disk.folder)} | {format_size(disk.free_bytes)} | {free_after} |"


def _format_total(items: list[PlanItem]) -> str:
    total = format_size(sum(item.likely_bytes for item in items))
    unknown = sum(item.likely_bytes == 0 for item in items)
    if unknown:
        return f"{total} and {unknown} of unknown size"
    return f"about {total}"


def _render_list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield from ("", f"## {title}", "")
    for line in lines:
        yield f"- {_escape_markdown(line)}"


def _render_table(title: str, items: list[PlanItem]) -> Iterator[str]:
    if not items:
        return
    yield from ("", f"## {title}", "", "| model | size | into | from | licence | base model | SHA-256 |")
    yield "|---|---|---|---|---|---|---|"
    for item in items:
        cells = (
            item.filename,
            format_item_size(item),
            item.target or "",
            item.same_as or _format_origin(item),
            item.licence or "unknown",
            item.base_model or "unknown",
            item.sha256 or "unknown: only the header is checked",
        )
        yield "| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |"


def _format_origin(item: PlanItem) -> str:
    try:
        address = parse_address(item.url)
    except Failure:
        return "an unreadable URL"
    # Of a query, only Civitai's file id is worth seeing; anything else might be a secret.
    file_id = re.search(r"\bfileId=(\d+)", address.target)
    return address.printable + (f"?{file_id[0]}" if file_id else "")


def _format_free_space(count: int) -> str:
    if count >= 0:
        return format_size(count)
    return f"too little: {format_size(-count)} more are needed"


def _escape_markdown(text: str) -> str:
    return _MARKUP.sub(r"\\\1", printable_path(text).replace("\\\\", "\\"))


def _list_newest_first(home: Home) -> list[Path]:
    try:
        plans = [
            (entry.stat().st_mtime_ns, entry.name)
            for entry in os.scandir(plans_folder(home))
            if entry.name.endswith(".json")
        ]
    except OSError:
        return []
    return [plans_folder(home) / name for _modified, name in sorted(plans, reverse=True)]
