"""The folded parts of the Markdown report: lists of workflows, models, packs and files, each line with names. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.text import format_decimal_size, pluralize, shorten_list
from comfywatchman.readiness.report import markdown
from comfywatchman.readiness.report.folder_names import name_model
from comfywatchman.readiness.report.markdown import SafeMarkdown, code_span
from comfywatchman.readiness.report.needs import ActionKind, OpenPoint, PlannedAction, WorkflowNeeds
from comfywatchman.readiness.report.overview import ReportOverview
from comfywatchman.readiness.report.search_results import site_name
from comfywatchman.readiness.states import NodeRemedy, WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, ModelCandidate, WorkflowEntry

MAX_LISTED: Final = 20
_MAX_READY: Final = 50
_SHOWN_NEEDS: Final = 2
_SHOWN_CLASSES: Final = 3
_SHOWN_CANDIDATES: Final = 5
_SHOWN_HASH_DIGITS: Final = 12
_FEW_STEPS: Final = 3


@dataclass(frozen=True, slots=True)
class Fold:
    """One folded part: its title, and its lines in Markdown."""

    title: str
    lines: tuple[SafeMarkdown, ...]


@dataclass(frozen=True, slots=True)
class _Content:
    """The report, its plan, and the short name of each workflow by its path."""

    status: MasterStatus
    overview: ReportOverview
    names: Mapping[str, str]


def build_folds(status: MasterStatus, overview: ReportOverview, names: Mapping[str, str]) -> tuple[Fold, ...]:
    """Return the folded parts that are not empty.

    Args:
        status: The report.
        overview: Its plan and counts.
        names: The short name of each workflow, by its path.
    """
    content = _Content(status, overview, names)
    folds = []
    for build in _BUILDERS:
        folds += [fold for fold in build(content) if fold.lines]
    return tuple(folds)


def describe_need(action: PlannedAction) -> str:
    """Return what a workflow waits for, as a few words."""
    match action.kind:
        case ActionKind.UPDATE:
            return f"ComfyUI {action.version}" if action.version else "newer ComfyUI"
        case ActionKind.REPAIR:
            return "a ComfyUI that starts"
        case _:
            return action.name


def describe_point(point: OpenPoint, name: str) -> str:
    """Return an open point as a few words, with the name that it concerns."""
    return _POINT_TEXTS[point].format(name) if name else _NAMELESS_POINTS[point]


_POINT_TEXTS: Final = {
    OpenPoint.FILE: "{}",
    OpenPoint.EDIT: "edit: {}",
    OpenPoint.CHOOSE_PACK: "pack to choose: {}",
    OpenPoint.REPAIR_PACK: "{} (to repair)",
    OpenPoint.INPUT: "your file: {}",
    OpenPoint.UNKNOWN: "unknown: {}",
}
_NAMELESS_POINTS: Final = dict.fromkeys(OpenPoint, "see explain") | {
    OpenPoint.FILE: "damaged",
    OpenPoint.INPUT: "a file of yours",
}


def list_need_texts(workflow: WorkflowNeeds) -> list[str]:
    """Return everything that a workflow waits for, each as a few words."""
    if workflow.entry.status is WorkflowStatus.INVALID and workflow.entry.problems:
        return [workflow.entry.problems[0].message.rstrip(".")]
    needs = [describe_need(action) for action in workflow.actions]
    return needs + [describe_point(point, name) for point, name in workflow.open_points]


def _build_workflow_fold(content: _Content) -> Iterator[Fold]:
    needs = content.overview.needs
    groups: list[list[WorkflowNeeds]] = [[] for _title in _GROUP_TITLES]
    for workflow in needs:
        groups[_find_group(workflow)].append(workflow)
    lines: list[SafeMarkdown] = []
    for title, workflows in zip(_GROUP_TITLES, groups, strict=True):
        if workflows:
            lines += [SafeMarkdown(f"**{title} ({len(workflows)})**"), SafeMarkdown("")]
            lines += [_format_workflow(workflow, content.names) for workflow in workflows]
            lines.append(SafeMarkdown(""))
    yield Fold(f"Not ready: {pluralize(len(needs), 'workflow')}", tuple(lines))


_GROUP_TITLES: Final = ("Damaged", "One step away", "2 or 3 steps", "4 or more")


def _find_group(workflow: WorkflowNeeds) -> int:
    """Return the index of the title under which a workflow is listed."""
    if workflow.entry.status is WorkflowStatus.INVALID:
        return 0
    steps = len(workflow.actions) + len(workflow.open_points)
    if steps <= 1:
        return 1
    return 2 if steps <= _FEW_STEPS else 3


def _format_workflow(workflow: WorkflowNeeds, names: Mapping[str, str]) -> SafeMarkdown:
    shown = markdown.escape(shorten_list(list_need_texts(workflow), most=_SHOWN_NEEDS))
    return SafeMarkdown(f"- {code_span(names[workflow.entry.path])}: {shown}")


def _build_model_fold(content: _Content) -> Iterator[Fold]:
    usage = content.overview.usage
    models = [action for action in content.overview.actions if action.folder is not None]
    models.sort(key=lambda action: (-usage[action.id], action.target))
    lines = [SafeMarkdown("| Model | Kind | Workflows | Source |"), SafeMarkdown("|---|---|--:|---|")]
    for action in models:
        cells = (code_span(action.target), name_model(action.folder), usage[action.id], _describe_model_source(action))
        lines.append(_format_row(cells))
    if models:
        yield Fold(f"Models: {len(models)} to get", tuple(lines))


def _describe_model_source(action: PlannedAction) -> str:
    size = f", {format_decimal_size(action.size_bytes)}" if action.size_bytes else ""
    match action.kind:
        case ActionKind.LINK:
            return "on disk"
        case ActionKind.DOWNLOAD:
            return f"found{size}" if action.is_verified else "declared"
        case ActionKind.CHOOSE:
            return f"{action.choices} to choose from"
        case ActionKind.REPLACE:
            return "damaged"
        case _:
            return "none"


def _build_candidate_fold(content: _Content) -> Iterator[Fold]:
    """Yield the models with candidates to choose from, each with its candidates and their pages."""
    models = {}
    for workflow in content.overview.needs:
        for model in workflow.entry.missing_models:
            if model.answer == "UNCERTAIN" and model.candidates:
                models[model.folder, model.name] = model
    lines: list[SafeMarkdown] = []
    for model in models.values():
        command = f"comfywatchman resolve --choose {shlex.quote(model.name)} NUMBER"
        lines.append(SafeMarkdown(f"- {code_span(model.name)}: {code_span(command)}"))
        for number, candidate in enumerate(model.candidates[:_SHOWN_CANDIDATES], 1):
            name = f", {code_span(candidate.name)}" if candidate.name else ""
            url = f" {markdown.link(candidate.url, candidate.url)}" if candidate.url else ""
            details = _describe_candidate(candidate)
            reason = f" ({markdown.escape(details)})" if details else ""
            source = markdown.escape(site_name(candidate.source))
            lines.append(SafeMarkdown(f"    - {number}: {source}{name}{url}{reason}"))
    yield Fold(f"Candidates: {pluralize(len(models), 'model')} to look at", tuple(lines))


def _describe_candidate(candidate: ModelCandidate) -> str:
    """Return the evidence for a candidate, and what tells it apart from others of the same name."""
    parts = [
        candidate.reason,
        f"base model {candidate.base_model}" if candidate.base_model else None,
        f"version id {candidate.version}" if candidate.version else None,
        f"SHA-256 {candidate.sha256[:_SHOWN_HASH_DIGITS]}…" if candidate.sha256 else None,
    ]
    return "; ".join(part for part in parts if part)


def _build_blocked_fold(content: _Content) -> Iterator[Fold]:
    plan = content.status.plan
    if plan is not None:
        lines = [_format_names(blocked.name, blocked.reason) for blocked in plan.blocked]
        yield Fold(f"Found, but blocked: {pluralize(len(lines), 'model')}", tuple(lines))


def _build_pack_fold(content: _Content) -> Iterator[Fold]:
    classes: dict[str, dict[str, None]] = {}
    for workflow in content.overview.needs:
        for node in workflow.entry.missing_nodes:
            if node.remedy is NodeRemedy.INSTALL_PACK:
                classes.setdefault(node.packages[0].id.lower(), {})[node.class_type] = None
    packs = [action for action in content.overview.actions if action.kind is ActionKind.INSTALL]
    packs.sort(key=lambda action: (-content.overview.usage[action.id], action.name))
    lines = [SafeMarkdown("| Pack | Workflows | Node classes |"), SafeMarkdown("|---|--:|---|")]
    for action in packs:
        named = shorten_list(sorted(classes[action.pack.lower()]), most=_SHOWN_CLASSES)
        lines.append(_format_row((action.name, content.overview.usage[action.id], named)))
    if packs:
        yield Fold(f"Node packs: {len(packs)} to install", tuple(lines))


def _build_choice_fold(content: _Content) -> Iterator[Fold]:
    packages: dict[str, list[str]] = {}
    for workflow in content.overview.needs:
        for node in workflow.entry.missing_nodes:
            if node.remedy is NodeRemedy.CHOOSE_PACK:
                packages[node.class_type] = [package.title or package.id for package in node.packages]
    lines = [_format_names(name, shorten_list(ids, most=_SHOWN_CLASSES)) for name, ids in sorted(packages.items())]
    yield Fold(f"Packs to choose: {pluralize(len(lines), 'node class')}", tuple(lines))


def _build_repair_fold(content: _Content) -> Iterator[Fold]:
    fixes: dict[str, str] = {}
    for workflow in content.overview.needs:
        points = {name for point, name in workflow.open_points if point is OpenPoint.REPAIR_PACK}
        for node in workflow.entry.missing_nodes:
            name = node.packages[0].title or node.packages[0].id if node.packages else node.class_type
            if name in points:
                fixes.setdefault(name, node.fix or "")
    lines = [_format_names(name, fix) for name, fix in sorted(fixes.items())]
    yield Fold(f"Packs to repair: {len(lines)}", tuple(lines))


def _build_input_fold(content: _Content) -> Iterator[Fold]:
    workflows: dict[str, set[str]] = {}
    unknown = set()
    for entry in content.status.workflows:
        for missing in entry.missing_inputs:
            name = missing.name or "none chosen"
            workflows.setdefault(name, set()).add(entry.path)
            if missing.obstacle is not None:
                unknown.add(name)
    order = sorted(workflows, key=lambda name: (-len(workflows[name]), name))
    lines = [SafeMarkdown("| File | Workflows |"), SafeMarkdown("|---|--:|")]
    for name in order[:MAX_LISTED]:
        doubt = " (may be there)" if name in unknown else ""
        lines.append(_format_row((SafeMarkdown(f"{code_span(name)}{doubt}"), len(workflows[name]))))
    if len(order) > MAX_LISTED:
        more = SafeMarkdown(f"{len(order) - MAX_LISTED} more: {code_span('comfywatchman status --only inputs')}")
        lines.append(_format_row((more, "")))
    if order:
        yield Fold(f"Your own files: {len(order)} missing (READY does not wait for them)", tuple(lines))


def _build_ready_fold(content: _Content) -> Iterator[Fold]:
    ready = [entry for entry in content.status.workflows if entry.status is WorkflowStatus.READY]
    lines = [_format_ready(entry, content.names[entry.path]) for entry in ready[:_MAX_READY]]
    if len(ready) > _MAX_READY:
        command = code_span("comfywatchman status --only ready")
        lines.append(SafeMarkdown(f"- {len(ready) - _MAX_READY} more: {command}"))
    yield Fold(f"Ready: {pluralize(len(ready), 'workflow')}", tuple(lines))


def _format_ready(entry: WorkflowEntry, name: str) -> SafeMarkdown:
    since = f", complete since {markdown.escape(entry.last_resolved_at)}" if entry.last_resolved_at else ""
    return SafeMarkdown(f"- {code_span(name)}{since}")


def _build_environment_fold(content: _Content) -> Iterator[Fold]:
    checks = content.status.environment.checks
    lines = [SafeMarkdown("| Check | State | Finding | Do |"), SafeMarkdown("|---|---|---|---|")]
    for check in sorted(checks, key=lambda check: check.status == "ok"):
        finding = "" if check.status == "ok" else check.evidence
        action: object = check.action or ""
        if check.action is not None and check.action.startswith("gov "):
            action = code_span(check.action)
        lines.append(_format_row((check.name, check.status, finding, action)))
    passed = sum(check.status == "ok" for check in checks)
    if checks:
        yield Fold(f"Environment: {passed} of {len(checks)} checks ok", tuple(lines))


def _build_change_fold(content: _Content) -> Iterator[Fold]:
    lines = []
    for entry in content.status.intake:
        before = f", before {code_span(entry.previous_path)}" if entry.previous_path else ""
        name = content.names.get(entry.path, entry.path)
        lines.append(SafeMarkdown(f"- {markdown.escape(entry.kind)}: {code_span(name)}{before}"))
    yield Fold(f"Changed lately: {pluralize(len(lines), 'file')}", tuple(lines))


def _build_problem_fold(content: _Content) -> Iterator[Fold]:
    lines = [SafeMarkdown(f"- {markdown.escape(problem)}") for problem in content.status.problems]
    yield Fold(f"Problems: {len(lines)}", tuple(lines))


def _format_names(name: str, text: str) -> SafeMarkdown:
    return SafeMarkdown(f"- {code_span(name)}: {markdown.escape(text)}")


def _format_row(cells: Iterable[object]) -> SafeMarkdown:
    return SafeMarkdown("| " + " | ".join(markdown.escape(cell) for cell in cells) + " |")


_BUILDERS: Final[Sequence[Callable[[_Content], Iterator[Fold]]]] = (
    _build_workflow_fold,
    _build_model_fold,
    _build_candidate_fold,
    _build_blocked_fold,
    _build_pack_fold,
    _build_choice_fold,
    _build_repair_fold,
    _build_input_fold,
    _build_ready_fold,
    _build_environment_fold,
    _build_change_fold,
    _build_problem_fold,
)
