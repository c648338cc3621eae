"""Finds the missing models that a person names: those of the last report that no plan holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.status import MasterStatus, MissingModel
from comfywatchman.sources.file_names import base_name

_LINKED_STATES = frozenset({ModelState.CASE, ModelState.SUBFOLDER, ModelState.WRONG_FOLDER})


def list_missing_models(report: MasterStatus) -> tuple[MissingModel, ...]:
    """Return each missing model of a report once, by folder and name."""
    models: dict[tuple[str | None, str], MissingModel] = {}
    for entry in report.workflows:
        for model in entry.missing_models:
            models.setdefault((model.folder, model.name), model)
    return tuple(models.values())


def find_models(name: str, models: Iterable[MissingModel]) -> tuple[MissingModel, ...]:
    """Return the models that a name stands for: the name in the workflow, its path, or its last segment."""
    models = tuple(models)
    wanted = name.replace("\\", "/")
    exact = tuple(model for model in models if wanted in {model.name.replace("\\", "/"), model.target})
    found = exact or tuple(model for model in models if base_name(model.name) == wanted)
    # A node whose folder is not known may name the same file; nothing can be put in place for it.
    return tuple(model for model in found if model.target is not None) or found


def is_link(model: MissingModel) -> bool:
    """Return whether a file of this host may be the model, so that a link is enough."""
    return model.found_at is not None and model.status in _LINKED_STATES


def build_declared_item(model: MissingModel) -> PlanItem | None:
    """Return the download of a model from the link that its workflow declares; None without such a link."""
    if model.declared_url is None or is_link(model):
        return None
    return PlanItem(
        # The target has the extension that workflows leave out of the names of embeddings.
        filename=_find_file_name(model),
        folder=model.folder,
        url=model.declared_url,
        sha256=model.declared_sha256,
        source="declared",
    )


def build_link_item(model: MissingModel) -> PlanItem:
    """Return the item that stands for a model whose file is linked from this host."""
    return PlanItem(filename=_find_file_name(model), folder=model.folder, url="")


def _find_file_name(model: MissingModel) -> str:
    name = model.name.replace("\\", "/")
    if model.target is None:
        return name
    extension = base_name(model.target).removeprefix(base_name(name))
    return name + extension
