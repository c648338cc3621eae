from __future__ import annotations

import pytest

from comfywatchman.comfyui.static_analysis.io_types import (
    OPEN,
    get_input_type,
    get_v1_type,
    get_v3_type,
    get_v3_width,
    has_v3_widget,
    list_v3_options,
)
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ExternalName,
    V3InputSpec,
    Value,
)


def spec(kind: str, *arguments: Value, name: Value = "x", **keywords: Value) -> V3InputSpec:
    return V3InputSpec(kind, name, None, keywords, list(arguments))


def types(*names: str) -> AbstractList:
    return AbstractList([ExternalName(f"comfy_api.latest.io.{name}") for name in names])


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("Vae", "VAE"),
        ("Load3DCamera", "LOAD3D_CAMERA"),
        ("Custom(MY_TYPE)", "MY_TYPE"),
        ("Custom()", None),
        ("VAE", None),
        ("Unheard", None),
    ],
)
def test_type_follows_the_name_of_its_class(kind: str, wanted: str | None) -> None:
    assert get_v3_type(kind) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (ExternalName("comfy.comfy_types.IO.IMAGE"), "IMAGE"),
        (ExternalName("comfy.comfy_types.node_typing.IO.NUMBER"), "FLOAT,INT"),
        (ExternalName("other.IO.ANY"), UNKNOWN),
        (ExternalName("comfy.comfy_types.InputTypeDict"), UNKNOWN),
        ("MASK", "MASK"),
    ],
)
def test_v1_type_may_be_a_member_of_io(value: Value, wanted: Value) -> None:
    assert get_v1_type(value) == wanted


def test_multi_type_is_the_union_of_its_types() -> None:
    assert get_input_type(spec("MultiType", "x", types("Image", "Mask", "Image"))) == "IMAGE,MASK"
    assert get_input_type(spec("MultiType", spec("Float"), types("Int", "Float"))) == "FLOAT,INT"
    assert get_input_type(spec("MultiType", id=spec("Int"), types=types("Mask"))) == "INT,MASK"
    assert get_input_type(spec("MultiType", "x", types("Image", "Unheard"))) is None
    assert get_input_type(spec("MultiType", "x", AbstractList(types("Image").values, is_open=True))) is None
    assert get_input_type(spec("MultiType", "x", types())) is None


def test_upload_and_further_options_are_as_the_server_sends_them() -> None:
    video = ExternalName("comfy_api.latest.io.UploadType.video")
    further = AbstractDict({"min": 2, "step": 1})
    assert list_v3_options(spec("Combo", upload=video)) == {"video_upload": True}
    assert list_v3_options(spec("Combo", upload="video")) == {OPEN: True}
    assert list_v3_options(spec("Int", min=1, extra_dict=further)) == {"min": 2, "step": 1}
    assert list_v3_options(spec("Int", extra_dict=UNKNOWN)) == {OPEN: True}
    assert list_v3_options(spec("Int", extra_dict=AbstractDict(possible_keys={"min"}))) == {OPEN: True}


@pytest.mark.parametrize(
    ("specification", "width"),
    [
        (spec("Int"), 1),
        (spec("Int", name="seed"), 2),
        (spec("Image"), 0),
        (spec("Int", force_input=True), 0),
        (spec("Unheard", force_input=True), 0),
        (spec("Unheard"), None),
        (spec("Color"), None),
        (spec("Int", extra_dict=UNKNOWN), None),
        (spec("Combo", upload=ExternalName("io.UploadType.image")), 2),
        (spec("MultiType", spec("Int"), types("Float")), None),
        (spec("MultiType", spec("Latent"), types("Image")), 0),
    ],
)
def test_width_counts_the_values_of_widgets(specification: V3InputSpec, width: int | None) -> None:
    assert get_v3_width(specification) == width


def test_widget_of_a_multi_type_is_that_of_its_input() -> None:
    assert has_v3_widget(spec("MultiType", id=spec("String"), types=types("Image")))
    assert not has_v3_widget(spec("MultiType", "x", types("String")))
    assert not has_v3_widget(spec("String"))
