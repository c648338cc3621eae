"""The key of the large models that a job needs: jobs with equal keys run one after another without loading anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.jobs.files.payload import Graph

_LARGE: Final = frozenset({"checkpoints", "diffusion_models", "diffusers"})
"""Folders of the models whose loading takes longest; text encoders and VAEs usually come with one of them."""


def find_affinity_key(graph: Graph, table: LoaderTable) -> str:
    """Return the names of a prompt's large models, sorted; empty when it names none. Pure.

    Args:
        graph: The prompt, with the inputs of the job in place.
        table: Gives the inputs that name models.
    """
    return "\n".join(sorted(set(_find_models(graph, table))))


def _find_models(graph: Graph, table: LoaderTable) -> Iterator[str]:
    for node in graph.values():
        for loader_input in table.inputs(node["class_type"]):
            value = node["inputs"].get(loader_input.name)
            if loader_input.folder in _LARGE and isinstance(value, str):
                yield f"{loader_input.folder}/{value}"
