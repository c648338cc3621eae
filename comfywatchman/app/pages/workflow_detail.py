"""One workflow: what it lacks, on what evidence, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comfywatchman.app.model_choice import choose_candidate, read_search_results
from comfywatchman.app.pages.forms import plan_changed_failure, protect, read_field
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest
from comfywatchman.app.pages.tasks import start_command
from comfywatchman.app.pages.workflow_rows import build_workflow_id
from comfywatchman.app.tasks.records import TaskKind
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, match_items
from comfywatchman.readiness.downloads.plan_files import read_newest_plan
from comfywatchman.readiness.downloads.requests import is_link
from comfywatchman.readiness.report.explanation import Explanation, explain_workflow
from comfywatchman.readiness.report.search_results import describe_details
from comfywatchman.readiness.report.step_text import HostFacts
from comfywatchman.readiness.search.decisions import candidate_id, find_stored_result, is_choosable, mark_candidates
from comfywatchman.readiness.search.results import SearchResult
from comfywatchman.readiness.states import MODEL_STATE_TEXT, SEARCH_DOUBT_TEXT, SEARCHED_STATES, SearchDoubt
from comfywatchman.readiness.status import MasterStatus, MissingModel, WorkflowEntry
from comfywatchman.readiness.workflows.intake_log import Acknowledgement, read_last_entries

_READ_ENTRIES = 2000
_SHOWN_ENTRIES = 20


@dataclass(frozen=True, slots=True)
class CandidateView:
    """A candidate to choose: its id, and the facts by which a person decides."""

    id: str
    name: str
    size: int | None
    details: tuple[str, ...]
    differences: tuple[str, ...]
    reasons: tuple[str, ...]
    is_choosable: bool


@dataclass(frozen=True, slots=True)
class ModelView:
    """A missing model.

    Attributes:
        model: Its facts.
        state: Its state, as the end of a sentence.
        doubt: Why the search is uncertain; empty for other results.
        candidates: What a person can choose from.
        choose_command: The command that chooses, with the number left out.
        item: Its item in the newest plan; None without one.
        plan_file: The file of that plan; empty without an item.
        is_link: Whether a file of this host can be linked.
        download_command: The command that downloads or links it; empty when nothing is known to download.
        search_command: The command that searches for it again; empty when only the workflow or this host can help.
    """

    model: MissingModel
    state: str
    doubt: str
    candidates: tuple[CandidateView, ...]
    choose_command: str
    item: PlanItem | None
    plan_file: str
    is_link: bool
    download_command: str
    search_command: str


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """The page of one workflow.

    Attributes:
        id: Its id in URLs.
        entry: Its entry in the report.
        explanation: Why it is not ready, and what to do.
        models: The missing models.
        history: The changes of its file, the newest first.
        command: The command that explains it.
    """

    id: str
    entry: WorkflowEntry
    explanation: Explanation
    models: tuple[ModelView, ...]
    history: tuple[Acknowledgement, ...]
    command: str


def view_workflow(request: PageRequest) -> WorkflowView:
    """Return the page of one workflow.

    Raises:
        Failure: `workflow-unknown`, or a `config-…` code.
    """
    host = request.host
    report = host.read_master_status()
    entries: Mapping[str, WorkflowEntry] = {}
    if report is not None:
        entries = host.cache_by_report("workflows by id", lambda: _index_by_id(report))
    entry = entries.get(request.path["id"])
    if report is None or entry is None:
        hint = "It was renamed or deleted, or another ComfyUI is watched now."
        raise Failure("workflow-unknown", "The last report has no such workflow.", hint=hint)
    facts = HostFacts(report.host.comfyui_version, is_governed=report.environment.state != "not governed")
    return WorkflowView(
        id=request.path["id"],
        entry=entry,
        explanation=explain_workflow(entry, 0, facts),
        models=_describe_models(host, entry),
        history=_read_history(host, entry),
        command=host.session.format_command("explain", entry.path),
    )


def choose_model(request: ActionRequest) -> ActionResult:
    """Store which candidate is the model.

    Raises:
        Failure: `web-form-invalid`, `choice-impossible`, `lock-held` or `state-unwritable`.
    """
    name, choice = read_field(request, "model"), read_field(request, "choice")
    session = request.host.session
    decision = choose_candidate(session, find_stored_result(name, read_search_results(session)), choice)
    sentence = f"From now on {decision.filename} is {candidate_id(decision.candidate)}. The next check plans it."
    return ActionResult(sentence, _build_next_page(request))


def download_model(request: ActionRequest) -> ActionResult:
    """Start the download, or the link, of one model.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    name = read_field(request, "model")
    # The person has confirmed on the page what the command would ask on a terminal.
    confirmed = ["--yes"] if request.form.get("unproved") == "yes" else []
    plan = _read_plan(request.host)
    if "plan" in request.form:
        item = _find_item(plan, request.form)
        arguments = ["download", *confirmed, "--plan", request.form["plan"], *protect(_name_item(item))]
    elif plan is not None and match_items(plan, name):
        # The person has seen no planned file, and the command would download one.
        raise plan_changed_failure()
    else:
        arguments = ["download", *confirmed, *protect(name)]
    return start_command(request, TaskKind.DOWNLOAD, *arguments, sentence="The download has started.", subject=name)


def search_model(request: ActionRequest) -> ActionResult:
    """Start a new search for one model.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    name = read_field(request, "model")
    return start_command(
        request,
        TaskKind.SEARCH,
        "resolve",
        "--refresh",
        *protect(name),
        sentence="The search has started.",
        subject=name,
    )


def _build_next_page(request: ActionRequest) -> str:
    workflow = request.form.get("workflow", "")
    return f"workflows/{workflow}" if workflow.isalnum() else "workflows"


def _index_by_id(report: MasterStatus) -> dict[str, WorkflowEntry]:
    return {build_workflow_id(entry.path): entry for entry in report.workflows}


def _read_plan(host: PageHost) -> DownloadPlan | None:
    """Return the newest plan; None when there is none, or it cannot be read."""
    try:
        return read_newest_plan(host.session.layout.home, host.session.watched_comfyui())
    except Failure:
        # `download --list` names the damaged file.
        return None


def _find_item(plan: DownloadPlan | None, form: Mapping[str, str]) -> PlanItem:
    """Return the item that a person approved, from the plan that the person has seen."""
    if plan is not None and form["plan"] == _name_plan_file(plan):
        for item in plan.items:
            if item.id == form.get("item"):
                return item
    raise plan_changed_failure()


def _name_plan_file(plan: DownloadPlan) -> str:
    return f"{plan.cycle}.json"


def _name_item(item: PlanItem) -> str:
    """Return the name by which `download --plan` selects the item, and no other of the same name."""
    return f"{item.folder}/{item.filename}" if item.folder else item.filename


def _describe_models(host: PageHost, entry: WorkflowEntry) -> tuple[ModelView, ...]:
    if not entry.missing_models:
        return ()
    plan = _read_plan(host)
    results: Sequence[SearchResult] = ()
    if any(model.doubt is SearchDoubt.CANDIDATES_TO_CHOOSE for model in entry.missing_models):
        # Not cached with the report: a new search of one model leaves the report as it is.
        results = read_search_results(host.session)
    views = []
    for model in entry.missing_models:
        items = match_items(plan, model.name) if plan is not None else ()
        item = next((item for item in items if item.folder == model.folder), None)
        plan_file = _name_plan_file(plan) if plan is not None and item is not None else ""
        views.append(_describe_model(host, model, item, plan_file, results))
    return tuple(views)


def _describe_model(
    host: PageHost, model: MissingModel, item: PlanItem | None, plan_file: str, results: Sequence[SearchResult]
) -> ModelView:
    session = host.session
    candidates: tuple[CandidateView, ...] = ()
    if model.doubt is SearchDoubt.CANDIDATES_TO_CHOOSE:
        candidates = _list_candidates(model, results)
    name = protect(model.name)
    can_search = model.status in SEARCHED_STATES
    download: tuple[str, ...] = ()
    if item is not None:
        download = ("--plan", plan_file, *protect(_name_item(item)))
    elif is_link(model) or model.declared_url is not None:
        download = name
    return ModelView(
        model=model,
        state=MODEL_STATE_TEXT[model.status],
        doubt=SEARCH_DOUBT_TEXT[model.doubt] if model.doubt is not None else "",
        candidates=candidates,
        choose_command=session.format_command("resolve", "--choose", model.name, "NUMBER"),
        item=item,
        plan_file=plan_file,
        is_link=is_link(model),
        download_command=session.format_command("download", *download) if download else "",
        search_command=session.format_command("resolve", "--refresh", *name) if can_search else "",
    )


def _list_candidates(model: MissingModel, results: Sequence[SearchResult]) -> tuple[CandidateView, ...]:
    try:
        result = mark_candidates(find_stored_result(f"{model.folder or '?'}/{model.name}", results), {})
    except Failure:
        # The search was forgotten since; the next check searches again.
        return ()
    return tuple(
        CandidateView(
            id=candidate_id(candidate),
            name=candidate.name,
            size=candidate.size,
            details=describe_details(candidate),
            differences=candidate.differences,
            reasons=candidate.reasons,
            is_choosable=is_choosable(candidate),
        )
        for candidate in result.candidates
    )


def _read_history(host: PageHost, entry: WorkflowEntry) -> tuple[Acknowledgement, ...]:
    session = host.session
    watched = session.watched_comfyui()
    if watched is None:
        return ()
    entries = read_last_entries(session.layout.intake_log, _READ_ENTRIES, comfyui=watched.id)
    return tuple(found for found in entries if found.path == entry.path)[:_SHOWN_ENTRIES]
