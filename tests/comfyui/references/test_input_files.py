"""Which files of their own people have to supply for a workflow."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS, FileInput, FileInputTable
from comfywatchman.comfyui.references.input_files import InputFile, find_required_files, split_annotation
from comfywatchman.comfyui.workflow.reader import read_workflow


def find_needed(*nodes: dict[str, Any], known: FileInputTable = BUILTIN_FILE_INPUTS) -> list[tuple[str, str, str]]:
    graph = {"nodes": [{"id": n, **node} for n, node in enumerate(nodes, start=1)], "links": [], "version": 0.4}
    return find_in_graph(graph, known)


def find_in_graph(graph: dict[str, Any], known: FileInputTable = BUILTIN_FILE_INPUTS) -> list[tuple[str, str, str]]:
    workflow = read_workflow(orjson.dumps(graph), table=load_builtin_table())
    return [(file.node_path, file.kind, file.name) for file in find_required_files(workflow, known)]


@pytest.mark.parametrize(
    ("class_type", "kind", "values"),
    [
        ("LoadImage", "picture", ["file.x", "image"]),
        ("LoadImageMask", "picture", ["file.x", "alpha", "image"]),
        ("LoadImageOutput", "picture", ["file.x", "image"]),
        ("LoadAudio", "sound", ["file.x", "", ""]),
        ("LoadVideo", "video", ["file.x", "image"]),
        ("LoadLatent", "latent", ["file.x"]),
        ("Load3D", "3D file", ["file.x", "", 1024, 1024]),
        ("GeminiInputFiles", "document", ["file.x"]),
        ("VHS_LoadAudioUpload", "sound", ["file.x", 0, 0]),
        ("VHS_LoadImages", "folder", ["file.x", 0, 0, 1]),
        ("VHS_LoadVideo", "video", {"video": "file.x", "force_rate": 0}),
    ],
)
def test_file_of_each_class_is_found(class_type: str, kind: str, values: object) -> None:
    assert find_needed({"type": class_type, "widgets_values": values}) == [("1", kind, "file.x")]


def test_names_in_the_workflow_win_over_indexes() -> None:
    inputs = [{"name": "image", "type": "COMBO", "widget": {"name": "image"}, "link": None}]
    node = {"type": "LoadImage", "inputs": inputs, "widgets_values": ["named.png"]}
    assert find_needed(node) == [("1", "picture", "named.png")]


def test_index_with_another_name_is_not_read() -> None:
    inputs = [{"name": "other", "type": "COMBO", "widget": {"name": "other"}, "link": None}]
    assert find_needed({"type": "LoadImage", "inputs": inputs, "widgets_values": ["no.png"]}) == []


@pytest.mark.parametrize("mode", [2, 4])
def test_muted_and_bypassed_nodes_need_no_files(mode: int) -> None:
    assert find_needed({"type": "LoadImage", "mode": mode, "widgets_values": ["a.png"]}) == []


def test_linked_input_has_no_file() -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "MakesAName", "inputs": {}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    }
    assert find_in_graph(prompt) == [("3", "picture", "a.png")]


@pytest.mark.parametrize("values", [[], [None], [3], [["a.png"]], [{"a": "b"}]])
def test_value_that_is_not_text_is_not_a_name(values: list[object]) -> None:
    assert find_needed({"type": "LoadImage", "widgets_values": values}) == []


def test_choices_beside_files_are_not_files() -> None:
    assert find_needed({"type": "Load3D", "widgets_values": ["none"]}) == []
    assert find_needed({"type": "LoadImage", "widgets_values": ["none"]}) == [("1", "picture", "none")]


def test_input_without_index_is_found_by_name_only() -> None:
    known = FileInputTable([FileInput("X", "clip", "video")])
    assert find_needed({"type": "X", "widgets_values": ["a.mp4"]}, known=known) == []
    assert find_needed({"type": "X", "widgets_values": {"clip": "a.mp4"}}, known=known) == [("1", "video", "a.mp4")]


@pytest.mark.parametrize(
    ("name", "folder", "relative"),
    [
        ("a.png", "input", "a.png"),
        ("sub/a.png", "input", "sub/a.png"),
        ("a.png [input]", "input", "a.png"),
        ("clipspace/a b.png [input]", "input", "clipspace/a b.png"),
        ("a.png [output]", "output", "a.png"),
        ("painter/a.png [temp]", "temp", "painter/a.png"),
        ("a.png [other]", "input", "a.png [other]"),
        ("a.png [output] ", "input", "a.png [output] "),
        ("a.png[output]", "output", "a.pn"),
        ("[input]", "input", ""),
        ("", "input", ""),
    ],
)
def test_annotation_gives_the_folder_as_on_the_server(name: str, folder: str, relative: str) -> None:
    assert split_annotation(name) == (folder, relative)


def test_annotation_decides_the_folder_not_the_class() -> None:
    node = {"class_type": "LoadImageOutput", "inputs": {"image": "a.png"}}
    annotated = {"class_type": "LoadImage", "inputs": {"image": "sub/a.png [output]"}}
    workflow = read_workflow(orjson.dumps({"1": node, "2": annotated}), table=load_builtin_table())
    assert find_required_files(workflow, BUILTIN_FILE_INPUTS) == (
        InputFile("a.png", "input", "picture", "LoadImageOutput", "1", "image"),
        InputFile("sub/a.png [output]", "output", "picture", "LoadImage", "2", "image"),
    )
    assert [file.relative for file in find_required_files(workflow, BUILTIN_FILE_INPUTS)] == ["a.png", "sub/a.png"]
