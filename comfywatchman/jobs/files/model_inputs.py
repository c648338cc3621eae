"""Models that the inputs of a job name: they decide which hosts can run it, beside the workflow itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES, get_suffix
from comfywatchman.jobs.files.payload import Graph, find_target
from comfywatchman.jobs.files.workflows import JobInputTarget, JobWorkflow

_MAX_CHARS: Final = 400
"""Longer keys end with their hash: a database index takes no text of any length."""


def find_readiness_key(
    workflow_id: str, runs: Iterable[Mapping[str, Any]], entry: JobWorkflow, graph: Graph, table: LoaderTable
) -> str:
    """Return the key of jobs that the same hosts can run: the workflow, and the models that the job names. Pure.

    A job whose inputs name no model has the id of its workflow as key. Models of the template are left out: each host
    reads them from its own template.

    Args:
        workflow_id: The workflow.
        runs: The inputs that the job gives to each of its runs.
        entry: Its entry in workflows.yaml.
        graph: Its template.
        table: Gives the inputs that name models.
    """
    named: set[str] = set()
    for inputs in runs:
        named.update(_list_models(inputs, entry, graph, table))
    if not named:
        return workflow_id
    key = f"{workflow_id} with {', '.join(sorted(named))}"
    if len(key) <= _MAX_CHARS:
        return key
    return f"{key[:_MAX_CHARS]}… {hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _list_models(inputs: Mapping[str, Any], entry: JobWorkflow, graph: Graph, table: LoaderTable) -> Iterator[str]:
    for name, value in inputs.items():
        target = find_target(name, entry, graph)
        if isinstance(target, str) or target["kind"] == "file" or not isinstance(value, str):
            continue
        if _is_model_input(target, graph, table) or get_suffix(value) in MODEL_SUFFIXES:
            yield f"{target['node']}.{target['field']}={value}"


def _is_model_input(target: JobInputTarget, graph: Graph, table: LoaderTable) -> bool:
    class_type = graph[target["node"]]["class_type"]
    return any(loader_input.name == target["field"] for loader_input in table.inputs(class_type))
