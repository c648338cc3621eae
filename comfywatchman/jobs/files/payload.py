"""Fill a workflow template with the inputs of a job."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from comfywatchman.jobs.files.near_names import list_known, suggest_name
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.templates import load_template
from comfywatchman.jobs.files.workflows import JobInputTarget, JobWorkflow

Graph = Mapping[str, Mapping[str, Any]]

SEED_INPUTS: Final = ("seed", "noise_seed")
PROMPT_INPUTS: Final = ("prompt", "text")
"""The inputs that get the seed and the prompt of each run, unless workflows.yaml names others."""

_NODE_AND_FIELD: Final = re.compile(r"(?P<node>[0-9]+(?::[0-9]+)*)_(?P<field>.+)")
"""A name such as `45_text`: the input `text` of node 45."""

_LINK_FIELDS: Final = 2


def build_payload(workflow_id: str, inputs: Mapping[str, Any], workflows: Mapping[str, JobWorkflow]) -> dict[str, Any]:
    """Return the prompt that runs a workflow with the inputs of a job, as `POST /prompt` takes it.

    Args:
        workflow_id: A key of `workflows`.
        inputs: Values by input name. Inputs that the workflow does not have are refused.
        workflows: As `load_workflows` returns them; their templates are read.

    Returns:
        The nodes by id, in the server's format. Nothing in it belongs to the template.

    Raises:
        JobFileError: An input is missing, unknown or of another type. It is a `ValueError`.
        Failure: `jobs-template-invalid`.
    """
    entry = get_workflow(workflow_id, workflows)
    graph = load_template(Path(entry["template_path"])).graph
    problems = list(find_input_problems(workflow_id, inputs, entry, graph))
    if problems:
        raise JobFileError(problems)
    return fill_template(graph, {**entry["defaults"], **inputs}, entry)


def get_workflow(workflow_id: str, workflows: Mapping[str, JobWorkflow]) -> JobWorkflow:
    """Return a workflow by its id.

    Raises:
        JobFileError: There is none.
    """
    if workflow_id not in workflows:
        message = f"workflows.yaml has no workflow {workflow_id!r:.100}.{list_known(workflow_id, workflows)}"
        raise JobFileError([JobFileProblem(message, field="workflow_id")])
    return workflows[workflow_id]


def find_input_problems(
    workflow_id: str,
    inputs: Mapping[str, Any],
    entry: JobWorkflow,
    graph: Graph,
    lines: Mapping[str, int] | None = None,
) -> Iterator[JobFileProblem]:
    """Yield why a template cannot be filled with these inputs. Pure.

    Args:
        workflow_id: Its id, for messages.
        inputs: The inputs of a job.
        entry: Its entry in workflows.yaml.
        graph: Its template.
        lines: The line of each field of the job file, if there is one.
    """
    lines = lines or {}
    for name in entry["required_inputs"]:
        if name not in inputs and name not in entry["defaults"]:
            yield JobFileProblem("The workflow needs this input.", lines.get("inputs"), f"inputs.{name}")
    for name, value in {**entry["defaults"], **inputs}.items():
        field = f"inputs.{name}"
        target = find_target(name, entry, graph)
        if isinstance(target, str):
            yield JobFileProblem(f"{target} (workflow {workflow_id})", lines.get(field), field)
            continue
        fault = _find_value_fault(value, target, graph)
        if fault:
            yield JobFileProblem(fault, lines.get(field), field)


def fill_template(graph: Graph, inputs: Mapping[str, Any], entry: JobWorkflow) -> dict[str, Any]:
    """Return a copy of a template with values in place; every input must have one. Pure."""
    filled = {
        node_id: {"class_type": node["class_type"], "inputs": copy.deepcopy(dict(node["inputs"]))}
        for node_id, node in graph.items()
    }
    for name, value in inputs.items():
        target = find_target(name, entry, graph)
        if isinstance(target, str):
            raise JobFileError([JobFileProblem(target, field=f"inputs.{name}")])
        filled[target["node"]]["inputs"][target["field"]] = _as_node_value(value)
    return filled


def find_target(name: str, entry: JobWorkflow, graph: Graph) -> JobInputTarget | str:
    """Return where an input goes, or why that is not known. Pure.

    `inputs` of workflows.yaml decides. Without an entry there, `45_text` is the input `text` of node 45, and any other
    name goes to the only node that has an input of that name.
    """
    target = entry["inputs"].get(name)
    if target is not None and target["node"] not in graph:
        return f"workflows.yaml sends this input to node {target['node']}, which the template does not have."
    if target is not None:
        return target
    match = _NODE_AND_FIELD.fullmatch(name)
    if match and match["node"] in graph:
        return _find_named_target(match["node"], match["field"], graph)
    return _find_only_target(name, entry, graph)


def _find_named_target(node_id: str, field: str, graph: Graph) -> JobInputTarget | str:
    inputs = graph[node_id]["inputs"]
    if field in inputs:
        return JobInputTarget(node=node_id, field=field, kind="value")
    return f"Node {node_id} has no input {field!r:.60}.{list_known(field, inputs)}"


def _find_only_target(name: str, entry: JobWorkflow, graph: Graph) -> JobInputTarget | str:
    nodes = [
        node_id for node_id, node in graph.items() if name in node["inputs"] and not _is_link(node["inputs"][name])
    ]
    if len(nodes) == 1:
        return JobInputTarget(node=nodes[0], field=name, kind="value")
    if nodes:
        return (
            f"Nodes {', '.join(nodes[:5])} have an input of this name. Name the node in workflows.yaml, as in"
            f' inputs: {{{name}: {{node: "{nodes[0]}"}}}}.'
        )
    suggestion = suggest_name(name, list_input_names(entry, graph))
    return f"The workflow has no input of this name, and workflows.yaml does not say where it goes.{suggestion}"


def list_input_names(entry: JobWorkflow, graph: Graph) -> list[str]:
    """Return the names of the inputs that a job may give, without the `45_text` form. Pure."""
    names = {name for node in graph.values() for name, value in node["inputs"].items() if not _is_link(value)}
    return sorted({*entry["inputs"], *entry["required_inputs"], *names})


def find_first_input(names: tuple[str, ...], entry: JobWorkflow, graph: Graph) -> str | None:
    """Return the first of several names that is an input of a workflow; None when none is. Pure."""
    for name in names:
        if not isinstance(find_target(name, entry, graph), str):
            return name
    return None


def _find_value_fault(value: object, target: JobInputTarget, graph: Graph) -> str:
    """Compare a value with the one that the template holds at its place: its type is that of the node's input."""
    if target["kind"] == "file":
        return "" if isinstance(value, str) and value else "Name a file here."
    present = graph[target["node"]]["inputs"].get(target["field"])
    if isinstance(present, bool):
        return "" if isinstance(value, bool) else f"This must be true or false, not {_describe(value)}."
    if isinstance(present, int | float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number else f"This must be a number, not {_describe(value)}."
    if isinstance(present, str):
        return "" if isinstance(value, str) else f"This must be text, not {_describe(value)}. Put it in quotes."
    return "" if value is not None else "This has no value."


def _describe(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    kinds = {int: "a number", float: "a number", str: "text", list: "a list", dict: "a list of fields"}
    return kinds[type(value)]


def _as_node_value(value: Any) -> Any:
    # The server takes a list of two for a link to a node; ComfyUI's editor wraps lists in the same way.
    return {"__value__": copy.deepcopy(value)} if isinstance(value, list) else copy.deepcopy(value)


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == _LINK_FIELDS and isinstance(value[0], str)
