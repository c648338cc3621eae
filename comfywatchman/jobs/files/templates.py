"""Workflow templates of jobs: read from the server's format, or converted from the editor's where that is certain."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.base.json_values import as_mapping
from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.loaders.table import LoaderTable, load_builtin_table
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat, WorkflowNode
from comfywatchman.comfyui.workflow.jsontext import parse_json
from comfywatchman.comfyui.workflow.prompt import is_prompt
from comfywatchman.comfyui.workflow.reader import read_workflow

MAX_BYTES: Final = 32 << 20
_EXPORT_HINT: Final = "Open the workflow in ComfyUI and save it with File > Export (API)."
_NOT_SENT: Final = frozenset({"control_after_generate"})
"""Widgets of the editor whose value is not sent."""


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """A workflow in the server's format.

    Attributes:
        graph: The nodes by id, each with `class_type` and `inputs`.
        sha256: The hash of the file's bytes.
        was_converted: Whether the file has the editor's format.
    """

    graph: Mapping[str, Mapping[str, Any]]
    sha256: str
    was_converted: bool


def load_template(path: Path, *, table: LoaderTable | None = None) -> JobTemplate:
    """Read a template.

    Args:
        path: A workflow file.
        table: Gives the widget order of classes, for files of the editor's format; None for the builtin one.

    Raises:
        Failure: `jobs-template-invalid`, with the reason and the next step.
    """
    try:
        content = read_regular(path, max_bytes=MAX_BYTES)
    except Failure as failure:
        raise _invalid_template(path, failure.message, "Correct template_path in workflows.yaml.") from failure
    try:
        graph, was_converted = _parse(content, table or load_builtin_table())
    except Failure as failure:
        raise _invalid_template(path, failure.message, failure.hint or _EXPORT_HINT) from failure
    return JobTemplate(graph, hashlib.sha256(content).hexdigest(), was_converted)


def _parse(content: bytes, table: LoaderTable) -> tuple[dict[str, Any], bool]:
    workflow = read_workflow(content, table=table)
    if workflow.format is WorkflowFormat.API:
        if workflow.problems:
            raise Failure("workflow-not-a-workflow", workflow.problems[0].message, hint=_EXPORT_HINT)
        return _clean_prompt(content), False
    if _has_group_nodes(content):
        message = "It has group nodes, which the editor numbers anew whenever it opens them."
        raise Failure("jobs-template-invalid", message, hint=_EXPORT_HINT)
    return convert_workflow(workflow), True


def _has_group_nodes(content: bytes) -> bool:
    raw, _problems = parse_json(content)
    return bool(as_mapping(as_mapping(as_mapping(raw).get("extra")).get("groupNodes")))


def _clean_prompt(content: bytes) -> dict[str, Any]:
    raw, _problems = parse_json(content)
    document: Any = raw
    prompt = document["prompt"] if is_prompt(document.get("prompt")) else document
    # Titles and other notes of the editor are not part of what runs.
    return {
        node_id: {"class_type": node["class_type"], "inputs": copy.deepcopy(node.get("inputs", {}))}
        for node_id, node in prompt.items()
    }


def convert_workflow(workflow: Workflow) -> dict[str, Any]:
    """Return a workflow of the editor's format in the server's format. Pure.

    Raises:
        Failure: `jobs-template-invalid` where the file alone does not prove what the editor would send.
    """
    active = {node.path: node for node in workflow.nodes if node.active}
    reasons = [problem.message for problem in workflow.problems]
    for node in active.values():
        reasons.extend(_find_doubts(node, active))
    if not active:
        reasons.append("It has no active nodes.")
    if reasons:
        raise Failure(
            "jobs-template-invalid",
            "It has the editor's format, which the server does not take, and cannot be converted with certainty: "
            + shorten_list(reasons, most=3),
            hint=_EXPORT_HINT,
        )
    return {path: {"class_type": node.class_type, "inputs": _build_inputs(node)} for path, node in active.items()}


def _find_doubts(node: WorkflowNode, active: Mapping[str, WorkflowNode]) -> Iterator[str]:
    name = f"node {node.path} ({node.class_type:.60})"
    if len(node.widget_names) != len(node.positional) or None in node.widget_names:
        yield f"the file does not name all values of {name}."
    elif any(not _is_sent_as_stored(value) for value in node.positional):
        yield f"a value of {name} is the default of its class, or another one that the file does not hold."
    unknown = node.linked - node.links.keys() - set(node.widget_names)
    if unknown:
        yield f"the source of {shorten_list(sorted(unknown))} of {name} is not certain."
    for link in node.links.values():
        if not link.is_certain or link.path not in active:
            yield f"a link of {name} has no certain source."


def _is_sent_as_stored(value: object) -> bool:
    return isinstance(value, str | int | float | list | dict) or value is None


def _build_inputs(node: WorkflowNode) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for name, value in node.values.items():
        if name not in _NOT_SENT:
            # As the editor does, so that the server does not take a list for a link.
            inputs[name] = {"__value__": copy.deepcopy(value)} if isinstance(value, list) else copy.deepcopy(value)
    for name, link in node.links.items():
        inputs[name] = [link.path, link.slot]
    return inputs


def _invalid_template(path: Path, message: str, hint: str) -> Failure:
    return Failure("jobs-template-invalid", f"The template {printable_path(path)} cannot be used: {message}", hint=hint)
