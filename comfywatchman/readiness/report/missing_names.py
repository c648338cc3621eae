"""The names of what is missing for a workflow, as short texts for one cell of a table."""

from __future__ import annotations

from collections.abc import Iterable

from comfywatchman.readiness.status import MissingInput, MissingModel, MissingNode, RefusedInput, WorkflowEntry
from comfywatchman.readiness.verdicts.compose import COMFYUI_EXITS, ENVIRONMENT_FAILED


def list_lacking(entry: WorkflowEntry) -> list[str]:
    """Return the names of everything that a workflow lacks, the most serious first."""
    # An entry without a format could not be read; otherwise its problems are in the other lists.
    unreadable = [problem.message for problem in entry.problems] if entry.format is None else []
    if entry.obstacle is not None:
        unreadable = ["could not be read"]
    names = list_missing_names(
        nodes=entry.missing_nodes,
        models=entry.missing_models,
        problems=unreadable,
        refused=entry.refused_inputs,
        inputs=entry.missing_inputs,
    )
    names += ["a ComfyUI that starts" for problem in entry.problems if problem.code == COMFYUI_EXITS]
    names += ["a sound Python environment" for problem in entry.problems if problem.code == ENVIRONMENT_FAILED]
    return names


def list_missing_names(
    *,
    nodes: Iterable[MissingNode],
    models: Iterable[MissingModel],
    problems: Iterable[str],
    refused: Iterable[RefusedInput],
    inputs: Iterable[MissingInput],
) -> list[str]:
    """Return the names of everything that is missing for a workflow, the most serious first.

    Args:
        nodes: Missing node classes.
        models: Missing models.
        problems: Why the file cannot be used, as texts.
        refused: Inputs with a value that ComfyUI refuses.
        inputs: Missing files of the user; only required ones count.
    """
    names = [node.class_type for node in nodes]
    names += [missing_model_text(model) for model in models]
    names += problems
    names += [f"{value.node_type}: {value.input}" for value in refused]
    for file in inputs:
        if file.required:
            names.append(file.name if file.obstacle is None else f"{file.name} (unknown)")
    return names


def missing_model_text(model: MissingModel) -> str:
    """Return a model's name, and its state when it is not simply missing (`ink.safetensors (case)`)."""
    state = model.status.value.replace("_", " ")
    if state == "missing":
        return model.name
    return f"{model.name} ({state})"
