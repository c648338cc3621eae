"""Signatures of classes from their source, beside what a server lists for the same class."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from comfywatchman.comfyui.packs.definitions import read_pack_definitions
from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature, build_list_type

V1 = """
import folder_paths
from comfy.comfy_types import IO
SIZES = ["a", "b"]
class N:
    @classmethod
    def INPUT_TYPES(cls):
        return %s
    RETURN_TYPES = %s
NODE_CLASS_MAPPINGS = {"N": N}
"""
V3 = """
from enum import Enum
from comfy_api.latest import ComfyExtension, io
class Size(str, Enum):
    SMALL = "small"
    LARGE = "large"
    def describe(self):
        return self.value
class Plain:
    SMALL = "small"
class N(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="N", inputs=[%s], outputs=[%s], is_output_node=True)
class E(ComfyExtension):
    async def get_node_list(self):
        return [N]
async def comfy_entrypoint():
    return E()
"""


def read_v1(folder: Path, inputs: str, outputs: str = "()") -> NodeSignature:
    return read_source(folder, V1 % (indent(dedent(inputs), " " * 8).strip(), outputs))


def read_v3(folder: Path, inputs: str, outputs: str = "") -> NodeSignature:
    return read_source(folder, V3 % (inputs, outputs))


def read_source(folder: Path, source: str) -> NodeSignature:
    (folder / "__init__.py").write_text(source, "utf-8")
    return read_pack_definitions(folder, ["__init__.py"], label="pack").signatures["N"]


def read_live(required: Any = None, optional: Any = None) -> tuple[InputSignature, ...]:
    """Return the inputs of a class as the server lists them."""
    entry = {"input": {"required": required or {}, "optional": optional or {}}}
    return read_signatures({"N": entry})["N"].inputs


def read_one_v1(folder: Path, specification: str) -> InputSignature:
    return read_v1(folder, f"{{'required': {{'x': {specification}}}}}").inputs[0]


def read_one_v3(folder: Path, specification: str) -> InputSignature:
    return read_v3(folder, specification).inputs[0]


@pytest.mark.parametrize(
    ("source", "listed"),
    [
        ('("MODEL",)', ["MODEL"]),
        ('("INT", {"min": -1, "max": 2 ** 10 - 1})', ["INT", {"min": -1, "max": 1023}]),
        ('("FLOAT", {"min": 0.5, "max": True})', ["FLOAT", {"min": 0.5, "max": True}]),
        ('("INT", {"forceInput": True})', ["INT", {"forceInput": True}]),
        ('("INT", {"max": 1 << 3})', ["INT", {}]),
        ("(IO.IMAGE, {})", ["IMAGE", {}]),
        ("(IO.ANY, {})", ["*", {}]),
        ("(IO.NUMBER, {})", ["FLOAT,INT", {}]),
        ("(SIZES, {})", [["a", "b"], {}]),
        ('(SIZES, {"default": "a"})', [["a", "b"], {"default": "a"}]),
        ('("COMBO", {"options": SIZES})', ["COMBO", {"options": ["a", "b"]}]),
        ('(IO.COMBO, {"options": SIZES})', ["COMBO", {"options": ["a", "b"]}]),
        ('(SIZES, {"image_upload": True})', [["a", "b"], {"image_upload": True}]),
        ('("COMBO", {"options": SIZES, "multiselect": True})', ["COMBO", {"options": ["a", "b"], "multiselect": True}]),
        ('("COMFY_DYNAMICSLOT_V3", {})', ["COMFY_DYNAMICSLOT_V3", {}]),
    ],
)
def test_v1_input_is_read_as_the_server_lists_it(tmp_path: Path, source: str, listed: list[Any]) -> None:
    assert (read_one_v1(tmp_path, source),) == read_live({"x": listed})


@pytest.mark.parametrize(
    ("source", "listed"),
    [
        ('io.Model.Input("x")', ["MODEL", {}]),
        ('io.Int.Input("x", min=-1, max=5)', ["INT", {"min": -1, "max": 5}]),
        ('io.Int.Input("x", force_input=True)', ["INT", {"forceInput": True}]),
        ('io.Int.Input("seed", control_after_generate=True)', ["INT", {"control_after_generate": True}]),
        ('io.Custom("TRACK").Input("x")', ["TRACK", {}]),
        ('io.AnyType.Input("x")', ["*", {}]),
        ('io.Combo.Input("x", options=["a", 1])', ["COMBO", {"options": ["a", 1]}]),
        ('io.Combo.Input("x", ["a", 1])', ["COMBO", {"options": ["a", 1]}]),
        ('io.Combo.Input("x", options=Size)', ["COMBO", {"options": ["small", "large"]}]),
        ('io.Combo.Input("x", ["a"], upload=io.UploadType.image)', ["COMBO", {"options": ["a"], "image_upload": True}]),
        ('io.Combo.Input("x", ["a"], upload=io.UploadType.model)', ["COMBO", {"options": ["a"], "file_upload": True}]),
        ('io.MultiCombo.Input("x", ["a"])', ["COMBO", {"options": ["a"], "multiselect": True}]),
        ('io.MultiType.Input("x", [io.Image, io.Mask])', ["IMAGE,MASK", {}]),
        ('io.MultiType.Input(io.Mesh.Input("x"), types=[io.Image])', ["MESH,IMAGE", {}]),
        ('io.MultiType.Input(io.Int.Input("x"), [io.Float])', ["INT,FLOAT", {"widgetType": "INT"}]),
        ('io.Color.Input("x")', ["COLOR", {"socketless": True}]),
        ('io.String.Input("x", extra_dict={"widgetType": "PAINTER"})', ["STRING", {"widgetType": "PAINTER"}]),
        ('io.DynamicSlot.Input("x")', ["COMFY_DYNAMICSLOT_V3", {}]),
    ],
)
def test_v3_input_is_read_as_the_server_lists_it(tmp_path: Path, source: str, listed: list[Any]) -> None:
    one = read_one_v3(tmp_path, source)
    assert (one,) == read_live({one.name: listed})


def test_dynamic_combo_is_read_with_its_variants(tmp_path: Path) -> None:
    options = """io.DynamicCombo.Input("x", options=[
        io.DynamicCombo.Option("exact", [io.Int.Input("width"), io.Combo.Input("crop", ["no"], optional=True)]),
        io.DynamicCombo.Option("none", []),
    ])"""
    exact = {"required": {"width": ["INT", {}]}, "optional": {"crop": ["COMBO", {"options": ["no"]}]}}
    listed = {"options": [{"key": "exact", "inputs": exact}, {"key": "none", "inputs": {}}]}
    assert (read_one_v3(tmp_path, options),) == read_live({"x": ["COMFY_DYNAMICCOMBO_V3", listed]})


@pytest.mark.parametrize(
    ("template", "listed"),
    [
        ('Prefix(io.Image.Input("i"), prefix="i", min=2, max=3)', {"prefix": "i", "min": 2, "max": 3}),
        ('Prefix(io.Image.Input("i"), "i")', {"prefix": "i", "min": 1, "max": 10}),
        ('Names(io.Image.Input("i"), names=list("ab"), min=0)', {"names": ["a", "b"], "min": 0}),
        ('Names(io.Image.Input("i"), [f"i{n}" for n in range(1, 4)])', {"names": ["i1", "i2", "i3"], "min": 1}),
    ],
)
def test_growing_input_is_read_with_its_names(tmp_path: Path, template: str, listed: dict[str, Any]) -> None:
    source = f'io.Autogrow.Input("x", template=io.Autogrow.Template{template})'
    inner = {"input": {"required": {"i": ["IMAGE", {}]}}}
    expected = read_live({"x": ["COMFY_AUTOGROW_V3", {"template": inner | listed}]})
    assert (read_one_v3(tmp_path, source),) == expected


@pytest.mark.parametrize(
    "source",
    [
        'io.DynamicCombo.Input("x", options=mystery())',
        'io.DynamicCombo.Input("x", options=[mystery()])',
        'io.DynamicCombo.Input("x", options=[io.DynamicCombo.Option(mystery(), [])])',
        'io.DynamicCombo.Input("x", options=[io.DynamicCombo.Option("a", mystery())])',
        'io.Autogrow.Input("x", template=mystery())',
        'io.Autogrow.Input("x", io.Autogrow.TemplatePrefix(mystery(), "i"))',
        'io.Autogrow.Input("x", io.Autogrow.TemplatePrefix(io.Image.Input("i"), mystery()))',
        'io.Autogrow.Input("x", io.Autogrow.TemplatePrefix(io.Image.Input("i"), "i", min=mystery()))',
        'io.Autogrow.Input("x", io.Autogrow.TemplateNames(io.Image.Input("i"), mystery()))',
    ],
)
def test_unknown_expansion_of_a_dynamic_input(tmp_path: Path, source: str) -> None:
    one = read_one_v3(tmp_path, source)
    assert (one.name, one.type, one.expansion) == ("x", None, None)


@pytest.mark.parametrize(
    "source",
    [
        '(folder_paths.get_filename_list("loras"), {})',
        "(mystery(), {})",
        "([mystery()], {})",
        "(SIZES, mystery())",
        "(SIZES, {mystery(): 1})",
        "(SIZES, *mystery())",
        "mystery()",
    ],
)
def test_choices_are_unknown_unless_the_source_shows_them_all(tmp_path: Path, source: str) -> None:
    one = read_one_v1(tmp_path, source)
    assert (one.name, one.choices, one.is_required) == ("x", None, True)


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ('(["None", *folder_paths.get_filename_list("loras")], {})', ("None",)),
        ("(mystery(), {})", ()),
        ("(SIZES, mystery())", ("a", "b")),
        ('("COMBO", {"options": mystery()})', ()),
        ('("COMBO", {"options": ["a", mystery()]})', ("a",)),
        # The server compares nothing with lists that the editor downloads, and nothing of other types.
        ('("COMBO", {"options": mystery(), "remote": {}})', None),
        ('("INT", {"min": mystery()})', None),
        ("(SIZES, {})", None),
    ],
)
def test_known_part_of_choices_that_the_source_does_not_show(tmp_path: Path, source: str, known: object) -> None:
    assert read_one_v1(tmp_path, source).known_choices == known


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ('io.Combo.Input("x", options=Plain)', ()),
        ('io.Combo.Input("x", options=mystery())', ()),
        ('io.Combo.Input("x", ["none"] + sorted(mystery()))', ("none",)),
        ('io.Combo.Input("x", ["a"], extra_dict=mystery())', ("a",)),
        ('io.Combo.Input("x", ["a"])', None),
        ('io.Int.Input("x", min=mystery())', None),
    ],
)
def test_known_part_of_the_choices_of_a_v3_combo(tmp_path: Path, source: str, known: object) -> None:
    signature = read_one_v3(tmp_path, source)
    assert signature.known_choices == known
    assert (signature.choices is None) is (known is not None or "Int" in source)


@pytest.mark.parametrize(
    "inputs",
    [
        "mystery()",
        "{'required': mystery()}",
        "{'required': {'x': ('INT',), **mystery()}}",
        "{**mystery()}",
    ],
)
def test_inputs_that_cannot_be_read_leave_the_class_open(tmp_path: Path, inputs: str) -> None:
    assert not read_v1(tmp_path, inputs).has_all_inputs
    assert read_v1(tmp_path, "{'required': {'x': ('INT',)}}").has_all_inputs


def test_input_under_an_undecided_condition_is_not_required(tmp_path: Path) -> None:
    source = """
class N:
    @classmethod
    def INPUT_TYPES(cls):
        inputs = {"required": {"x": ("INT",)}}
        if mystery():
            inputs["required"]["y"] = ("INT", {"min": 5})
        return inputs
NODE_CLASS_MAPPINGS = {"N": N}
"""
    signature = read_source(tmp_path, source)
    assert signature.inputs[1] == InputSignature("y", None, width=None)
    assert [one.is_required for one in signature.inputs] == [True, False]


def test_optional_inputs_come_behind_required_ones(tmp_path: Path) -> None:
    optional_first = 'io.Int.Input("a", optional=True), io.Int.Input("b")'
    assert [(one.name, one.is_required) for one in read_v3(tmp_path, optional_first).inputs] == [
        ("b", True),
        ("a", False),
    ]
    signature = read_v3(tmp_path, "*mystery()")
    assert not signature.has_all_inputs


def test_unknown_name_of_a_v3_input_leaves_the_class_open(tmp_path: Path) -> None:
    assert not read_v3(tmp_path, 'io.Int.Input(mystery()), io.Int.Input("b")').has_all_inputs


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        ("('IMAGE', IO.ANY)", ("IMAGE", "*")),
        ("('IMAGE', mystery())", ("IMAGE", None)),
        ("(SIZES,)", (build_list_type(["a", "b"]),)),
        ("(folder_paths.get_filename_list('loras'),)", (None,)),
        ("()", ()),
        ("mystery()", None),
        ("('IMAGE', *mystery())", None),
    ],
)
def test_outputs_of_a_v1_class(tmp_path: Path, source: str, outputs: tuple[str | None, ...] | None) -> None:
    assert read_v1(tmp_path, "{}", source).outputs == outputs


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        ("io.Image.Output(), io.Custom('TRACK').Output()", ("IMAGE", "TRACK")),
        ("io.Latent().Output()", ("LATENT",)),
        ("io.MatchType.Output(template=t)", ("COMFY_MATCHTYPE_V3",)),
        ("io.Custom(mystery()).Output()", (None,)),
        ("io.Custom('a.b').Output(), mystery()", (None, None)),
        ("*mystery()", None),
    ],
)
def test_outputs_of_a_v3_class(tmp_path: Path, source: str, outputs: tuple[str | None, ...] | None) -> None:
    signature = read_v3(tmp_path, "", source)
    assert (signature.outputs, signature.is_output) == (outputs, True)


def test_classes_of_packs_are_less_certain_than_those_of_comfyui(tmp_path: Path) -> None:
    signature = read_v1(tmp_path, "{}")
    assert (signature.is_core, signature.has_plain_types) == (False, False)
    assert (signature.has_editor_code, signature.may_offer_more) == (True, True)
