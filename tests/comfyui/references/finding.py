"""Find the references of small workflows."""

from __future__ import annotations

from comfywatchman.comfyui.loaders.table import LoaderTable, load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.references.reference import Reference
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import Json, graph

Short = tuple[str, str, str | None, bool]
"""Input, value, folder and whether the node is active."""


def find_in(*nodes: Json, table: LoaderTable | None = None, links: list[object] | None = None) -> list[Reference]:
    return list(find_references(samples.read(graph(*nodes, links=links)), table or load_builtin_table()))


def summarize(*nodes: Json, links: list[object] | None = None) -> list[Short]:
    return [
        (reference.input, reference.value, reference.folder, reference.active)
        for reference in find_in(*nodes, links=links)
    ]


def read_api(class_type: str, **inputs: object) -> list[Reference]:
    raw = {"1": {"class_type": class_type, "inputs": inputs}}
    return list(find_references(samples.read(raw), load_builtin_table()))
