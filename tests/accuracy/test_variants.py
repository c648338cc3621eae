"""The same workflows written in other ways must name the same models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.workflow.document import Workflow
from comfywatchman.comfyui.workflow.reader import read_workflow
from tests.accuracy.templates import template_files

pytestmark = pytest.mark.slow

Named = set[tuple[str, str, str, str | None, bool]]


def named(workflow: Workflow) -> Named:
    references = find_references(workflow, load_builtin_table())
    return {(one.node_path, one.input, one.value, one.folder, one.active) for one in references}


def read(content: bytes) -> Workflow:
    return read_workflow(content, table=load_builtin_table())


def raw_templates() -> Iterator[tuple[Named, Any]]:
    for content in template_files().values():
        yield named(read(content)), json.loads(content)


def raw_nodes(raw: Any) -> Iterator[dict[str, Any]]:
    yield from raw["nodes"]
    for definition in (raw.get("definitions") or {}).get("subgraphs", []):
        yield from definition["nodes"]


def reread(raw: object) -> Named:
    return named(read(json.dumps(raw).encode()))


def test_the_servers_format_names_what_the_editors_format_names_on_active_nodes() -> None:
    for content in template_files().values():
        workflow = read(content)
        prompt = {
            node.path: {
                "class_type": node.class_type,
                "inputs": {
                    **{name: {"__value__": value} for name, value in node.values.items()},
                    **{key: ["0", 0] for key in node.linked},
                },
            }
            for node in workflow.nodes
            if node.active
        }
        if prompt:
            assert reread(prompt) == {one for one in named(workflow) if one[4]}
            assert reread({"prompt": prompt}) == reread(prompt)


def test_declarations_and_ids_of_packs_do_not_decide_what_is_found() -> None:
    for before, raw in raw_templates():
        for node in raw_nodes(raw):
            for name in ("models", "cnr_id", "ver"):
                (node.get("properties") or {}).pop(name, None)
        assert reread(raw) == before


def test_bypassing_every_node_leaves_nothing_required() -> None:
    for before, raw in raw_templates():
        for node in raw["nodes"]:
            node["mode"] = 4
        after = reread(raw)
        assert not any(active for *_, active in after)
        assert len(after) >= len(before)


def test_windows_paths_are_kept_as_they_are_written() -> None:
    for before, raw in raw_templates():
        for node in raw_nodes(raw):
            values = node.get("widgets_values")
            if isinstance(values, list):
                node["widgets_values"] = [_windows(value) for value in values]
            node.pop("widgets_values_named", None)
            for entry in (node.get("properties") or {}).get("proxyWidgetErrorQuarantine", []):
                if "hostValue" in entry:
                    entry["hostValue"] = _windows(entry["hostValue"])
        expected = {(path, name, _windows(value), folder, active) for path, name, value, folder, active in before}
        assert reread(raw) == expected


def _windows(value: Any) -> Any:
    return f"SDXL\\{value}" if isinstance(value, str) and value.endswith(".safetensors") else value
