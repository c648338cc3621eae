"""Reading what a running ComfyUI says of its nodes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.comfyui.server.object_info import LiveNodes, find_malformed_entry, read_object_info

FOLDERS = {
    "checkpoints": ["a.safetensors", "b.safetensors"],
    "loras": ["l.safetensors"],
    "text_encoders": ["t.safetensors"],
    "clip_gguf": ["t.gguf"],
    "vae": [],
}


def build_entry(*, module: str = "nodes", optional: dict[str, Any] | None = None, **required: Any) -> dict[str, Any]:
    return {"input": {"required": required, "optional": optional or {}}, "python_module": module}


def read_payload(**nodes: Any) -> LiveNodes:
    return read_object_info(nodes, FOLDERS, version="0.33.0")


def match_folder(live: LiveNodes) -> dict[str, tuple[str, tuple[str, ...], int | None]]:
    return {item.name: (item.folder, item.also_folders, item.widget_index) for item in live.loader_inputs}


def test_both_notations_of_a_combo_match_their_folder() -> None:
    live = read_payload(
        Old=build_entry(old=[["a.safetensors", "b.safetensors"], {"tooltip": "x"}]),
        New=build_entry(new=["COMBO", {"options": ["None", "l.safetensors"]}]),
    )
    assert match_folder(live) == {"old": ("checkpoints", (), 0), "new": ("loras", (), 0)}
    assert live.combos == {
        "Old": {"old": ("a.safetensors", "b.safetensors")},
        "New": {"new": ("None", "l.safetensors")},
    }
    first = live.loader_inputs[0]
    assert (first.evidence, first.confidence) == ("the running ComfyUI 0.33.0", "high")


def test_choices_beside_files_are_listed() -> None:
    (loader_input,) = read_payload(N=build_entry(x=[["auto", "l.safetensors"]])).loader_inputs
    assert "auto" in loader_input.not_files
    assert "l.safetensors" not in loader_input.not_files


def test_words_the_server_does_not_list_are_not_choices() -> None:
    (loader_input,) = read_payload(N=build_entry(x=[["None", "l.safetensors"]])).loader_inputs
    assert loader_input.not_files == ("None",)


def test_empty_list_has_no_choices_unless_filled_by_the_editor() -> None:
    live = read_payload(
        Old=build_entry(x=[[]]),
        New=build_entry(x=["COMBO", {"options": []}], y=["COMBO", {"options": [], "remote": {}}]),
    )
    assert live.combos == {"Old": {"x": ()}, "New": {"x": ()}}


def test_list_of_two_folders_matches_both() -> None:
    assert match_folder(read_payload(N=build_entry(x=[["t.gguf", "t.safetensors"]]))) == {
        "x": ("clip_gguf", ("text_encoders",), 0)
    }


@pytest.mark.parametrize(
    "choices",
    [["euler", "heun"], ["a.safetensors"], ["a.safetensors", "b.safetensors", "other.ckpt"], [], [1, 2]],
)
def test_other_lists_match_no_folder(choices: list[Any]) -> None:
    assert read_payload(N=build_entry(x=[choices])).loader_inputs == ()


def test_folders_with_the_same_files_match_nothing() -> None:
    payload = {"N": build_entry(x=[["m.safetensors"]])}
    folders = {"loras": ["m.safetensors"], "vae": ["m.safetensors"]}
    assert read_object_info(payload, folders, version=None).loader_inputs == ()


def test_folder_contained_in_another_does_not_match() -> None:
    folders = {"small": ["a.pt"], "large": ["a.pt", "b.pt"]}
    (loader_input,) = read_object_info({"N": build_entry(x=[["a.pt", "b.pt"]])}, folders, version=None).loader_inputs
    assert (loader_input.folder, loader_input.also_folders) == ("large", ())


def test_widget_indexes_follow_input_order_and_count_extra_values() -> None:
    entry = build_entry(
        lora=[["l.safetensors"]], seed=["INT", {"control_after_generate": True}], model=["MODEL"], image=[["x"], {}]
    )
    entry["input_order"] = {"required": ["model", "seed", "lora", "gone"], "optional": []}
    assert match_folder(read_payload(N=entry)) == {"lora": ("loras", (), 2)}


def test_index_behind_a_dynamic_input_is_unknown() -> None:
    entry = build_entry(
        optional={"lora": [["l.safetensors"]]}, mode=["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "x"}]}]
    )
    assert match_folder(read_payload(N=entry)) == {"lora": ("loras", (), None)}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        3,
        {},
        {"input": None},
        {"input": {"required": {"x": []}}},
        {"input": {"required": {"x": None, "y": [{}], "z": ["COMBO", {"remote": {}}]}}},
    ],
)
def test_class_of_unknown_shape_is_listed(entry: Any) -> None:
    live = read_payload(Strange=entry)
    assert live.classes == {"Strange"}
    assert live.loader_inputs == ()


def test_module_of_each_class_is_kept() -> None:
    assert read_payload(N=build_entry(module="custom_nodes.Thing")).packs == {"N": "custom_nodes.Thing"}


def test_payload_that_is_not_a_map_lists_nothing() -> None:
    assert read_object_info([1], FOLDERS, version=None).packs == {}


def test_live_nodes_survive_serialisation() -> None:
    live = read_payload(Old=build_entry(old=[["a.safetensors", "b.safetensors"]]))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(live), type=LiveNodes) == live


def test_upload_inputs_are_not_combos() -> None:
    live = read_payload(
        N=build_entry(
            image=[["a.png", "no picture", "none"], {"image_upload": True}],
            clip=["COMBO", {"options": [], "video_upload": True}],
            mode=[["fast", "slow"]],
        ),
        LoadLatent=build_entry(latent=[["x.latent"]]),
        Painter=build_entry(mask=["STRING", {"image_upload": True}]),
    )
    assert live.combos == {"N": {"mode": ("fast", "slow")}}
    assert [
        (file_input.name, file_input.kind, file_input.widget_index, file_input.not_files)
        for file_input in live.file_inputs
    ] == [
        ("image", "picture", 0, ("", "none", "None", "no picture")),
        ("clip", "video", 2, ("", "none", "None")),
    ]
    assert live.loader_inputs == ()


@pytest.mark.parametrize(
    ("entry", "name"), [(None, "Odd"), ({}, "Odd"), ({"input": {}}, None), ({"input": None}, None)]
)
def test_entry_that_comfyui_cannot_have_sent_is_found(entry: Any, name: str | None) -> None:
    assert find_malformed_entry({"N": build_entry(), "Odd": entry}) == name
