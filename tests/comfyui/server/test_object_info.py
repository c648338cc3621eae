"""Reading what a running ComfyUI says of its nodes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.comfyui.server.object_info import LiveNodes, read_object_info

FOLDERS = {
    "checkpoints": ["a.safetensors", "b.safetensors"],
    "loras": ["l.safetensors"],
    "text_encoders": ["t.safetensors"],
    "clip_gguf": ["t.gguf"],
    "vae": [],
}


def node(*, module: str = "nodes", optional: dict[str, Any] | None = None, **required: Any) -> dict[str, Any]:
    return {"input": {"required": required, "optional": optional or {}}, "python_module": module}


def read(**nodes: Any) -> LiveNodes:
    return read_object_info(nodes, FOLDERS, version="0.33.0")


def tied(live: LiveNodes) -> dict[str, tuple[str, tuple[str, ...], int | None]]:
    return {item.name: (item.folder, item.also_folders, item.widget_index) for item in live.loader_inputs}


def test_both_shapes_of_a_combo_are_tied_to_their_folder() -> None:
    live = read(
        Old=node(old=[["a.safetensors", "b.safetensors"], {"tooltip": "x"}]),
        New=node(new=["COMBO", {"options": ["None", "l.safetensors"]}]),
    )
    assert tied(live) == {"old": ("checkpoints", (), 0), "new": ("loras", (), 0)}
    assert live.combos == {
        "Old": {"old": ("a.safetensors", "b.safetensors")},
        "New": {"new": ("None", "l.safetensors")},
    }
    first = live.loader_inputs[0]
    assert (first.evidence, first.confidence) == ("the running ComfyUI 0.33.0", "high")


def test_choices_that_are_no_files_are_told_from_files() -> None:
    (found,) = read(N=node(x=[["auto", "l.safetensors"]])).loader_inputs
    assert "auto" in found.not_files
    assert "l.safetensors" not in found.not_files


def test_a_word_that_the_server_does_not_list_is_no_choice_of_it() -> None:
    (found,) = read(N=node(x=[["None", "l.safetensors"]])).loader_inputs
    assert found.not_files == ("None",)


def test_an_empty_list_offers_nothing_unless_the_editor_fills_it() -> None:
    live = read(Old=node(x=[[]]), New=node(x=["COMBO", {"options": []}], y=["COMBO", {"options": [], "remote": {}}]))
    assert live.combos == {"Old": {"x": ()}, "New": {"x": ()}}


def test_a_list_over_two_folders_names_both() -> None:
    assert tied(read(N=node(x=[["t.gguf", "t.safetensors"]]))) == {"x": ("clip_gguf", ("text_encoders",), 0)}


@pytest.mark.parametrize(
    "choices",
    [["euler", "heun"], ["a.safetensors"], ["a.safetensors", "b.safetensors", "other.ckpt"], [], [1, 2]],
)
def test_other_lists_are_not_tied(choices: list[Any]) -> None:
    assert read(N=node(x=[choices])).loader_inputs == ()


def test_folders_with_the_same_files_cannot_be_told_apart() -> None:
    payload = {"N": node(x=[["m.safetensors"]])}
    folders = {"loras": ["m.safetensors"], "vae": ["m.safetensors"]}
    assert read_object_info(payload, folders, version=None).loader_inputs == ()


def test_a_folder_within_a_larger_one_does_not_win() -> None:
    folders = {"small": ["a.pt"], "large": ["a.pt", "b.pt"]}
    (found,) = read_object_info({"N": node(x=[["a.pt", "b.pt"]])}, folders, version=None).loader_inputs
    assert (found.folder, found.also_folders) == ("large", ())


def test_places_follow_the_stated_order_and_count_hidden_widgets() -> None:
    entry = node(
        lora=[["l.safetensors"]], seed=["INT", {"control_after_generate": True}], model=["MODEL"], image=[["x"], {}]
    )
    entry["input_order"] = {"required": ["model", "seed", "lora", "gone"], "optional": []}
    assert tied(read(N=entry)) == {"lora": ("loras", (), 2)}


def test_after_a_dynamic_input_the_place_is_unknown() -> None:
    entry = node(optional={"lora": [["l.safetensors"]]}, mode=["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "x"}]}])
    assert tied(read(N=entry)) == {"lora": ("loras", (), None)}


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
def test_a_class_of_unknown_shape_still_counts(entry: Any) -> None:
    live = read(Strange=entry)
    assert live.classes == {"Strange"}
    assert live.loader_inputs == ()


def test_the_module_tells_the_pack() -> None:
    assert read(N=node(module="custom_nodes.Thing")).packs == {"N": "custom_nodes.Thing"}


def test_something_else_than_a_map_lists_nothing() -> None:
    assert read_object_info([1], FOLDERS, version=None).packs == {}


def test_what_was_said_survives_being_kept() -> None:
    live = read(Old=node(old=[["a.safetensors", "b.safetensors"]]))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(live), type=LiveNodes) == live


def test_inputs_that_take_an_upload_are_told_from_combos_that_a_verdict_depends_on() -> None:
    live = read(
        N=node(
            image=[["a.png", "no picture", "none"], {"image_upload": True}],
            clip=["COMBO", {"options": [], "video_upload": True}],
            mode=[["fast", "slow"]],
        ),
        LoadLatent=node(latent=[["x.latent"]]),
        Painter=node(mask=["STRING", {"image_upload": True}]),
    )
    assert live.combos == {"N": {"mode": ("fast", "slow")}}
    assert [(one.name, one.kind, one.widget_index, one.not_files) for one in live.file_inputs] == [
        ("image", "picture", 0, ("", "none", "None", "no picture")),
        ("clip", "video", 2, ("", "none", "None")),
    ]
    assert live.loader_inputs == ()
