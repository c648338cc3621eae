"""Which workflows use which model of this host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from comfywatchman.comfyui.loaders.name_resolution import NameResolution, resolve_name
from comfywatchman.comfyui.references.reference import Reference

ModelName = tuple[str, str]
"""Canonical model folder, and the name in it with `/`."""


def find_users(
    workflows: Iterable[tuple[str, Iterable[Reference]]], models: Mapping[str, frozenset[str]]
) -> dict[ModelName, tuple[str, ...]]:
    """Return the workflows that use each model, in input order; models that nothing uses are left out.

    A model counts as used when ComfyUI would load it for a node that is neither muted nor bypassed.

    Args:
        workflows: The path of each workflow, and its references.
        models: The names of the models of each folder, as ComfyUI lists them.
    """
    users: dict[ModelName, dict[str, None]] = {}
    for path, references in workflows:
        for reference in references:
            model = _find_model(reference, models) if reference.active else None
            if model is not None:
                users.setdefault(model, {})[path] = None
    return {model: tuple(paths) for model, paths in users.items()}


def _find_model(reference: Reference, models: Mapping[str, frozenset[str]]) -> ModelName | None:
    folders = [reference.folder] if reference.folder is not None else list(models)
    for folder in (*folders, *reference.also_folders):
        for name in (reference.value, *reference.tries):
            if name in models.get(folder, ()):
                return folder, name
        if reference.resolution is NameResolution.LISTED:
            continue
        resolved = resolve_name(reference.resolution, reference.tries, sorted(models.get(folder, ())))
        if resolved is not None:
            return folder, resolved
    return None
