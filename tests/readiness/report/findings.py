"""Findings and workflow entries of every kind for tests of the report."""

from __future__ import annotations

from typing import Any

from comfywatchman.readiness.states import ModelState, NodeRemedy, WorkflowStatus
from comfywatchman.readiness.status import MissingModel, MissingNode, ProviderPackage, WorkflowEntry


def model(
    name: str = "a.pt", *, folder: str | None = "loras", state: ModelState = ModelState.MISSING, **changes: Any
) -> MissingModel:
    facts: dict[str, Any] = {
        "node_type": "LoraLoader",
        "node_path": "1",
        "input": "lora_name",
        "fix": "Put it there.",
        "evidence": "table",
        "confidence": "high",
        "target": None if folder is None else f"models/{folder}/{name}",
    }
    return MissingModel(name=name, folder=folder, status=state, **{**facts, **changes})


def node(
    class_type: str = "Tea", *packages: str, state: str = "missing", remedy: NodeRemedy | None = None, **changes: Any
) -> MissingNode:
    providers = tuple(ProviderPackage(package) for package in packages)
    return MissingNode(class_type, state, ("1",), providers, "Do it.", remedy=remedy, **changes)


def newer(version: str | None, class_type: str = "New") -> MissingNode:
    """Return a class of a newer ComfyUI."""
    return node(class_type, state="needs_newer_comfyui", remedy=NodeRemedy.UPDATE_COMFYUI, comfyui_version=version)


def entry(path: str, *, status: WorkflowStatus = WorkflowStatus.MISSING, **changes: Any) -> WorkflowEntry:
    facts: dict[str, Any] = {
        "source": "mine",
        "format": "ui-1",
        "container": "json",
        "sha256": "0" * 64,
        "missing_models": (),
        "missing_nodes": (),
        "inactive_models": (),
        "uncertain_count": 0,
        "problems": (),
        "last_resolved_at": None,
        "intake": None,
    }
    facts.update(changes)
    return WorkflowEntry(path=path, status=status, models=len(facts["missing_models"]), **facts)
