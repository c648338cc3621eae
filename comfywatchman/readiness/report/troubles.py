"""The trouble that a report names first: what keeps ComfyUI from starting, what could not be looked at, sites. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from comfywatchman.base.text import pluralize, shorten_list
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind, describe_remedy
from comfywatchman.readiness.report.environment_text import describe_environment
from comfywatchman.readiness.report.search_results import site_name
from comfywatchman.readiness.report.unconfirmed import describe_unchecked, describe_unconfirmed
from comfywatchman.readiness.status import EnvironmentCheck, MasterStatus, StartProblem, WorkflowEntry


class TroubleKind(StrEnum):
    """The kinds of trouble, the most serious first."""

    WATCH = "watch"
    SKIPPED = "skipped"
    START = "start"
    UNREACHABLE = "unreachable"
    IMPORT = "import"
    ENVIRONMENT = "environment"
    SITES = "sites"
    UNCONFIRMED = "unconfirmed"
    UNCHECKED = "unchecked"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One trouble for people.

    Attributes:
        kind: What kind.
        title: What is wrong, as the begin of a sentence.
        detail: The rest of it, without a full stop.
        next_step: What to do, as a sentence; empty for nothing.
        retry_at: When it is tried again, UTC; None when that is not known.
        subject: The path, pack or check that it concerns.
        workflows: Number of workflows that it concerns, as far as that is known.
    """

    kind: TroubleKind
    title: str
    detail: str = ""
    next_step: str = ""
    retry_at: str | None = None
    subject: str = ""
    workflows: int = 0

    @property
    def place(self) -> str:
        """The path that follows the title; empty for none."""
        return self.subject if self.kind is TroubleKind.UNREACHABLE else ""


def list_troubles(status: MasterStatus) -> tuple[Trouble, ...]:
    """Return the troubles of a report, the most serious first; each is named once, not for each model."""
    troubles: list[Trouble] = []
    for find in _FINDERS:
        troubles += find(status)
    return tuple(troubles)


def _find_skip(status: MasterStatus) -> Iterator[Trouble]:
    if status.cycle.skipped_reason:
        detail = (status.cycle.message or status.cycle.skipped_reason).rstrip(".")
        step = "What follows is from the check before."
        if status.checked_at is None:
            step = ""
        yield Trouble(TroubleKind.SKIPPED, "The last check was skipped", detail, step)


def _find_start_problems(status: MasterStatus) -> Iterator[Trouble]:
    for problem in status.start_problems:
        yield _describe_start_problem(problem)


def _describe_start_problem(problem: StartProblem) -> Trouble:
    where = f"{problem.path}, line {problem.line}" if problem.line is not None else problem.path
    return Trouble(
        TroubleKind.START,
        "ComfyUI cannot start",
        f"{where}: {problem.reason.rstrip('.')}",
        problem.fix,
        subject=problem.path,
    )


def _find_obstacles(status: MasterStatus) -> Iterator[Trouble]:
    """Yield a trouble for each place that could not be looked at, with the number of workflows that it concerns."""
    obstacles: dict[str, Obstacle] = {}
    workflows: dict[str, set[str]] = {}
    for entry in status.workflows:
        for obstacle in _list_obstacles(entry):
            obstacles.setdefault(obstacle.path, obstacle)
            workflows.setdefault(obstacle.path, set()).add(entry.path)
    for folder in status.unread_folders:
        obstacles.setdefault(folder.obstacle.path, folder.obstacle)
    for path, obstacle in sorted(obstacles.items(), key=lambda item: (-len(workflows.get(item[0], ())), item[0])):
        # The repair of a file on which ComfyUI exits is a trouble of its own.
        if obstacle.kind in {ObstacleKind.CONFIGURATION, ObstacleKind.FOLDER_NOT_KNOWN}:
            continue
        count = len(workflows.get(path, ()))
        detail = "what it holds is unknown, not missing"
        if count:
            verb = "uses" if count == 1 else "use"
            detail = f"{pluralize(count, 'workflow')} {verb} it; {detail}"
        remedy = describe_remedy(obstacle)
        yield Trouble(TroubleKind.UNREACHABLE, "Couldn't read", detail, remedy, subject=path, workflows=count)


def _list_obstacles(entry: WorkflowEntry) -> Iterator[Obstacle]:
    obstacles = [entry.obstacle]
    obstacles += [model.obstacle for model in entry.missing_models]
    obstacles += [node.obstacle for node in entry.missing_nodes]
    obstacles += [missing.obstacle for missing in entry.missing_inputs if missing.required]
    for obstacle in obstacles:
        if obstacle is not None:
            yield obstacle


def _find_import_failures(status: MasterStatus) -> Iterator[Trouble]:
    packs: dict[str, None] = {}
    workflows = set()
    for entry in status.workflows:
        for node in entry.missing_nodes:
            if node.state == "import_failed" and node.packages:
                packs[node.packages[0].title or node.packages[0].id] = None
                workflows.add(entry.path)
    if packs:
        verb = "uses" if len(workflows) == 1 else "use"
        yield Trouble(
            TroubleKind.IMPORT,
            f"{pluralize(len(packs), 'installed pack')} cannot be imported",
            f"{shorten_list(sorted(packs))}; {pluralize(len(workflows), 'workflow')} {verb} {_them(len(packs))}",
            "Run comfywatchman doctor.",
            subject=next(iter(packs)),
        )


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def _find_environment_trouble(status: MasterStatus) -> Iterator[Trouble]:
    checks = status.environment.checks
    failed = [check for check in checks if check.status == "fail"]
    warned = [check for check in checks if check.status in {"warn", "unknown"}]
    for named, adjective in ((failed, "failed"), (warned, "need attention" if len(warned) != 1 else "needs attention")):
        if named:
            yield _describe_checks(named, len(checks), adjective)
            return
    if status.environment.cause is not None:
        yield Trouble(TroubleKind.ENVIRONMENT, "Environment", describe_environment(status.environment))
    elif status.environment.state == "unknown" and status.checked_at is not None:
        yield Trouble(TroubleKind.ENVIRONMENT, "The Python environment could not be checked", "", "Run gov check.")


def _describe_checks(checks: Sequence[EnvironmentCheck], total: int, adjective: str) -> Trouble:
    title = f"{len(checks)} of {total} environment checks {adjective}"
    first = checks[0]
    detail = f"{first.name}: {first.evidence.rstrip('.')}"
    step = f"Run {first.action}." if (first.action or "").startswith("gov ") else "Run gov check."
    return Trouble(TroubleKind.ENVIRONMENT, title, detail, step, subject=first.name)


def _find_site_trouble(status: MasterStatus) -> Iterator[Trouble]:
    sites: dict[str, None] = {}
    models = set()
    retry_at = None
    for entry in status.workflows:
        for model in entry.missing_models:
            if model.unreachable:
                sites.update(dict.fromkeys(map(site_name, model.unreachable)))
                models.add((model.folder, model.name))
                retry_at = model.retry_at
    if sites:
        title = f"Couldn't reach {' or '.join(sorted(sites))}"
        detail = f"{pluralize(len(models), 'model')} not looked up"
        yield Trouble(TroubleKind.SITES, title, detail, retry_at=retry_at)


def _find_unconfirmed_packs(status: MasterStatus) -> Iterator[Trouble]:
    text = describe_unconfirmed(status.workflows)
    if text:
        yield Trouble(TroubleKind.UNCONFIRMED, text.rstrip("."), "", "Start ComfyUI and check again to confirm it.")


def _find_unchecked_choices(status: MasterStatus) -> Iterator[Trouble]:
    text = describe_unchecked(status.workflows)
    if text:
        fix = "Start ComfyUI and check again: it lists most choices."
        if status.host.comfyui_running:
            fix = "Code of their node packs checks them when a workflow is queued."
        yield Trouble(TroubleKind.UNCHECKED, text.rstrip("."), "", fix)


def _find_problems(status: MasterStatus) -> Iterator[Trouble]:
    if status.problems:
        title = pluralize(len(status.problems), "other problem")
        more = " The report lists all of them." if len(status.problems) > 1 else ""
        yield Trouble(TroubleKind.PROBLEM, title, status.problems[0].rstrip("."), more.strip())


_FINDERS: tuple[Callable[[MasterStatus], Iterable[Trouble]], ...] = (
    _find_skip,
    _find_start_problems,
    _find_obstacles,
    _find_import_failures,
    _find_environment_trouble,
    _find_site_trouble,
    _find_unconfirmed_packs,
    _find_unchecked_choices,
    _find_problems,
)
