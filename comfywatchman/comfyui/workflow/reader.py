"""Read a workflow file of any format into the nodes that a server would receive."""

from __future__ import annotations

from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.budget import ReadingBudget
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat, WorkflowProblem
from comfywatchman.comfyui.workflow.flatten import flatten_workflow
from comfywatchman.comfyui.workflow.jsontext import parse_json
from comfywatchman.comfyui.workflow.prompt import is_prompt, parse_prompt_nodes

_HINT: Final = "Create workflow files with ComfyUI's menu: Save, Export, or Export (API)."


def read_workflow(
    content: bytes, *, container: str = "json", table: LoaderTable, budget: ReadingBudget | None = None
) -> Workflow:
    """Read a workflow as far as possible; defects on the way are in its `problems`.

    Args:
        content: The JSON text.
        container: The file that contained it: `json`, or the media type of a file that it was embedded in.
        table: Gives the widget order in files without widget names.
        budget: What reading the file may cost, as far as it is not spent already; a new one when None.

    Raises:
        Failure: `workflow-not-json`, `workflow-not-a-workflow`, `workflow-too-deep` or `workflow-too-large`; nothing
            else, whatever the bytes are.
    """
    budget = budget or ReadingBudget()
    raw, problems = parse_json(content, budget)
    if not isinstance(raw, dict):
        kind = "list (an index or a collection)" if isinstance(raw, list) else "single value"
        raise Failure("workflow-not-a-workflow", f"The file is a JSON {kind}, not a workflow.", hint=_HINT)
    if isinstance(raw.get("nodes"), list):
        return _read_graph_file(raw, container, table, problems, budget)
    # A request to the server's API carries the prompt as a member.
    prompt = raw.get("prompt")
    if is_prompt(prompt):
        budget.take_nodes(len(prompt))
        return _read_prompt(prompt, container, problems)
    if is_prompt(raw):
        budget.take_nodes(len(raw))
        return _read_prompt(raw, container, problems)
    raise Failure("workflow-not-a-workflow", _explain_not_a_workflow(raw), hint=_HINT)


def _read_graph_file(
    raw: dict[str, object],
    container: str,
    table: LoaderTable,
    problems: tuple[WorkflowProblem, ...],
    budget: ReadingBudget,
) -> Workflow:
    if not _has_nodes(raw["nodes"]):
        raise Failure("workflow-not-a-workflow", "None of the entries of its node list is a node.", hint=_HINT)
    flat = flatten_workflow(raw, table, budget)
    return Workflow(
        format=WorkflowFormat.UI_V1 if raw.get("version") == 1 else WorkflowFormat.UI,
        container=container,
        nodes=tuple(flat.nodes),
        declared=tuple(flat.declared),
        notes=tuple(flat.notes),
        problems=(*problems, *flat.problems),
    )


def _read_prompt(raw: dict[str, object], container: str, problems: tuple[WorkflowProblem, ...]) -> Workflow:
    all_problems = list(problems)
    nodes = tuple(parse_prompt_nodes(raw, all_problems))
    return Workflow(format=WorkflowFormat.API, container=container, nodes=nodes, problems=tuple(all_problems))


def _has_nodes(entries: object) -> bool:
    if not isinstance(entries, list):
        return False
    if not entries:
        # An empty list is an empty workflow; a list of other things belongs to another program.
        return True
    return any(isinstance(entry, dict) and isinstance(entry.get("type"), str) for entry in entries)


def _explain_not_a_workflow(raw: dict[str, object]) -> str:
    if isinstance(raw.get("templates"), list):
        return "The file is a collection of saved templates, not a workflow."
    if "$schema" in raw or "$defs" in raw:
        return "The file is a JSON schema, not a workflow."
    return "The file has neither a graph (`nodes`) nor a prompt (entries with `class_type`)."
