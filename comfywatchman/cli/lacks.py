"""What a workflow lacks, as short texts for one cell of a table."""

from __future__ import annotations

from collections.abc import Iterable

from comfywatchman.readiness.status import MissingInput, MissingModel, MissingNode, RefusedInput


def list_lacks(
    *,
    nodes: Iterable[MissingNode],
    models: Iterable[MissingModel],
    problems: Iterable[str],
    refused: Iterable[RefusedInput],
    inputs: Iterable[MissingInput],
) -> list[str]:
    """Return the names of everything that a workflow lacks, the most serious first.

    Args:
        nodes: Missing node classes.
        models: Missing models.
        problems: Why the file cannot be used, as texts.
        refused: Inputs with a value that ComfyUI refuses.
        inputs: Missing files of the user; only required ones count.
    """
    lacks = [node.class_type for node in nodes]
    lacks += [missing_model_text(model) for model in models]
    lacks += problems
    lacks += [f"{value.node_type}: {value.input}" for value in refused]
    lacks += [file.name for file in inputs if file.required]
    return lacks


def missing_model_text(model: MissingModel) -> str:
    """Return a model's name, and its state when it is not simply missing (`ink.safetensors (case)`)."""
    state = model.status.value.replace("_", " ")
    if state == "missing":
        return model.name
    return f"{model.name} ({state})"
