"""The steps of the plan as texts, paths and commands. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.text import format_decimal_size, pluralize
from comfywatchman.readiness.report.folder_names import name_model
from comfywatchman.readiness.report.needs import ActionKind, PlannedAction, pick_version
from comfywatchman.readiness.report.overview import HEADLINE_STEPS, PlannedStep, ReportOverview

UPDATE_PAGE: Final = "https://docs.comfy.org/installation/update_comfyui"
INSTALL_PAGE: Final = "https://docs.comfy.org/installation/install_custom_node"
_SAFE_ADDRESS: Final = re.compile(r"(https://[A-Za-z0-9.-]+/[A-Za-z0-9._/-]+)|([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class StepPart:
    """What one command does.

    Attributes:
        title: What to do, without a full stop; it begins in lower case.
        note: A remark for brackets; empty for none.
        size: Size of the download; empty when it is not known.
        paths: The files that it makes, from the folder of ComfyUI.
        command: The arguments of the command; empty where a page says what to do.
        page: That page.
    """

    title: str
    note: str = ""
    size: str = ""
    paths: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    page: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The facts of the host that the texts need: the version of ComfyUI, and whether `gov` governs its environment."""

    comfyui_version: str | None
    is_governed: bool


def describe_step(step: PlannedStep, host: HostFacts) -> tuple[StepPart, ...]:
    """Return the parts of a step, one for each command, in the order in which to do them."""
    by_kind: dict[ActionKind, list[PlannedAction]] = {kind: [] for kind in ActionKind}
    for action in step.actions:
        by_kind[action.kind].append(action)
    parts: list[StepPart] = []
    for kind, actions in by_kind.items():
        if actions and kind in _COMMON_KINDS:
            parts.append(_describe_models(kind, actions))
        else:
            parts += [_describe_action(action, host) for action in actions]
    return tuple(parts)


def describe_plan(overview: ReportOverview, shown: int) -> tuple[str, str]:
    """Return what the first steps would do, and what all shown steps would do; empty texts without any.

    Args:
        overview: The plan.
        shown: Number of steps that are shown.
    """
    if not overview.steps:
        return "", ""
    first = min(HEADLINE_STEPS, shown)
    steps = "1 step" if first == 1 else f"{first} steps"
    text = f"{steps} would make {overview.count_gain(first)} more ready"
    if shown <= first:
        return text, ""
    rest = f"all {shown} steps below, {overview.count_gain(shown)} more"
    sizes = [action.size_bytes for step in overview.steps[:shown] for action in step.actions if action.folder]
    known = sum(size or 0 for size in sizes)
    if known and None not in sizes:
        rest += f" ({format_decimal_size(known)} to download)"
    return text, rest


def quote_command(command: Iterable[str]) -> str:
    """Return a command as one line for a shell."""
    return shlex.join(command)


_COMMON_KINDS: Final = frozenset({ActionKind.LINK, ActionKind.DOWNLOAD})
"""Kinds of which one command does several."""


def _describe_models(kind: ActionKind, actions: Sequence[PlannedAction]) -> StepPart:
    what = name_model(actions[0].folder) if len(actions) == 1 else pluralize(len(actions), "file")
    names = [action.name for action in actions]
    # A name that begins with a hyphen would be read as an option.
    separator = ["--"] if any(name.startswith("-") for name in names) else []
    return StepPart(
        title=f"{kind.value} {what}",
        note=_describe_source(kind, actions),
        size=_format_total(actions),
        paths=tuple(action.target for action in actions),
        command=("comfywatchman", "download", *separator, *names),
    )


def _describe_source(kind: ActionKind, actions: Sequence[PlannedAction]) -> str:
    if kind is ActionKind.LINK:
        return "on disk already, nothing to download"
    if all(action.is_verified for action in actions):
        return ""
    return "link from the workflow, not verified"


def _format_total(actions: Sequence[PlannedAction]) -> str:
    sizes = [action.size_bytes for action in actions]
    if None in sizes or not any(sizes):
        return ""
    return format_decimal_size(sum(size or 0 for size in sizes))


def _describe_action(action: PlannedAction, host: HostFacts) -> StepPart:
    match action.kind:
        case ActionKind.REPAIR:
            return _describe_repair(action)
        case ActionKind.UPDATE:
            return StepPart(_describe_update(action, host), page=UPDATE_PAGE)
        case ActionKind.INSTALL:
            return _describe_installation(action, host)
    return _describe_search(action)


def _describe_repair(action: PlannedAction) -> StepPart:
    if action.url:
        return StepPart(f"repair the Python environment ({action.name})", command=tuple(action.url.split()))
    return StepPart("repair ComfyUI's configuration", paths=(action.name,), command=_DOCTOR)


def _describe_search(action: PlannedAction) -> StepPart:
    model = name_model(action.folder)
    title, note = f"find {model}", "no source known yet"
    if action.kind is ActionKind.REPLACE:
        title, note = f"replace damaged {model}", "delete the file first"
    elif action.kind is ActionKind.CHOOSE:
        title, note = f"choose {model}", pluralize(action.choices, "candidate")
    return StepPart(title, note, paths=(action.target,), command=_resolve(action))


_DOCTOR: Final = ("comfywatchman", "doctor")


def _resolve(action: PlannedAction) -> tuple[str, ...]:
    separator = ["--"] if action.name.startswith("-") else []
    return ("comfywatchman", "resolve", *separator, action.name)


def _describe_update(action: PlannedAction, host: HostFacts) -> str:
    version = pick_version([action])
    now = f" from {host.comfyui_version}" if host.comfyui_version else ""
    return f"update ComfyUI{now} to {f'{version} or newer' if version else 'the newest version'}"


def _describe_installation(action: PlannedAction, host: HostFacts) -> StepPart:
    title = f"install node pack {action.name}"
    address = action.url or action.pack
    # The address comes from a workflow or a catalogue and is meant to be pasted into a shell.
    if host.is_governed and _SAFE_ADDRESS.fullmatch(address):
        return StepPart(title, command=("gov", "node", "add", address))
    return StepPart(title, "with ComfyUI-Manager, then restart ComfyUI", page=action.url or INSTALL_PAGE)
