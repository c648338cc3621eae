"""Types of inputs and outputs by the names that ComfyUI's source has for them (`io.Image`, `IO.ANY`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ExternalName,
    V3InputSpec,
    Value,
)
from comfywatchman.comfyui.static_analysis.widgets import is_link_forced, widget_width

_V3_TYPES: Final[Mapping[str, str]] = {
    "AnyType": "*",
    "Audio": "AUDIO",
    "AudioEncoder": "AUDIO_ENCODER",
    "AudioEncoderOutput": "AUDIO_ENCODER_OUTPUT",
    "Autogrow": "COMFY_AUTOGROW_V3",
    "BBOX": "BBOX",
    "BackgroundRemoval": "BACKGROUND_REMOVAL",
    "Boolean": "BOOLEAN",
    "BoundingBox": "BOUNDING_BOX",
    "BoundingBoxes": "BOUNDING_BOXES",
    "Clip": "CLIP",
    "ClipVision": "CLIP_VISION",
    "ClipVisionOutput": "CLIP_VISION_OUTPUT",
    "Combo": "COMBO",
    "Conditioning": "CONDITIONING",
    "ControlNet": "CONTROL_NET",
    "DynamicCombo": "COMFY_DYNAMICCOMBO_V3",
    "DynamicSlot": "COMFY_DYNAMICSLOT_V3",
    "FaceAnalysis": "FACE_ANALYSIS",
    "File3DAny": "FILE_3D",
    "File3DFBX": "FILE_3D_FBX",
    "File3DGLB": "FILE_3D_GLB",
    "File3DGLTF": "FILE_3D_GLTF",
    "File3DKSPLAT": "FILE_3D_KSPLAT",
    "File3DOBJ": "FILE_3D_OBJ",
    "File3DPLY": "FILE_3D_PLY",
    "File3DPointCloudAny": "FILE_3D_POINT_CLOUD_ANY",
    "File3DSPLAT": "FILE_3D_SPLAT",
    "File3DSPZ": "FILE_3D_SPZ",
    "File3DSTL": "FILE_3D_STL",
    "File3DSplatAny": "FILE_3D_SPLAT_ANY",
    "File3DUSDZ": "FILE_3D_USDZ",
    "FlowControl": "FLOW_CONTROL",
    "HookKeyframes": "HOOK_KEYFRAMES",
    "ImageCompare": "IMAGECOMPARE",
    "LatentOperation": "LATENT_OPERATION",
    "LatentUpscaleModel": "LATENT_UPSCALE_MODEL",
    "Load3D": "LOAD_3D",
    "Load3DAnimation": "LOAD_3D_ANIMATION",
    "Load3DCamera": "LOAD3D_CAMERA",
    "Load3DModelInfo": "LOAD3D_MODEL_INFO",
    "LoraModel": "LORA_MODEL",
    "LossMap": "LOSS_MAP",
    "MODEL_PATCH": "MODEL_PATCH",
    "MatchType": "COMFY_MATCHTYPE_V3",
    "ModelPatch": "MODEL_PATCH",
    "MultiCombo": "COMBO",
    "SEGS": "SEGS",
    "SVG": "SVG",
    "StyleModel": "STYLE_MODEL",
    "TimestepsRange": "TIMESTEPS_RANGE",
    "UpscaleModel": "UPSCALE_MODEL",
    "WanCameraEmbedding": "WAN_CAMERA_EMBEDDING",
}
"""Types of `comfy_api/latest/_io.py` (ComfyUI 0.3.75 to 0.33) by the name of their class."""

_UPPER_CASE: Final = frozenset(
    {
        "Accumulation",
        "Array",
        "Color",
        "Colors",
        "Compositor",
        "Curve",
        "Dict",
        "Float",
        "Gligen",
        "Guider",
        "Histogram",
        "Hooks",
        "Image",
        "Int",
        "Latent",
        "Layers",
        "Mask",
        "Mesh",
        "Model",
        "Noise",
        "Photomaker",
        "Point",
        "Range",
        "Sampler",
        "Sigmas",
        "Splat",
        "String",
        "Tracks",
        "Vae",
        "Video",
        "Voxel",
        "Webcam",
    }
)
"""Types of the same file that are the name of their class in upper case."""

_WITH_WIDGET: Final = frozenset(
    {"BoundingBox", "BoundingBoxes", "Color", "Colors", "Compositor", "Curve", "ImageCompare", "Range", "Webcam"}
)
"""Types whose widgets take an unknown number of values in the editor."""

_WITH_PLAIN_WIDGET: Final = frozenset({"Boolean", "Combo", "Float", "Int", "MultiCombo", "String"})

_UPLOAD_OPTIONS: Final[Mapping[str, str]] = {
    "image": "image_upload",
    "audio": "audio_upload",
    "video": "video_upload",
    "model": "file_upload",
}
"""Options of the members of `io.UploadType`."""

OPEN: Final = "?"
"""Stands for options that are not known."""

_OLD_NAMES: Final[Mapping[str, str]] = {"ANY": "*", "NUMBER": "FLOAT,INT", "PRIMITIVE": "STRING,FLOAT,INT,BOOLEAN"}
"""Members of `comfy.comfy_types.IO` that are not called as their type is."""


def get_v1_type(value: Value) -> Value:
    """Return the type that stands in an `INPUT_TYPES` or `RETURN_TYPES`: a text, a list of choices, or UNKNOWN."""
    if not isinstance(value, ExternalName):
        return value
    owner, _, member = value.name.rpartition(".")
    if owner.startswith("comfy.comfy_types") and owner.endswith(".IO"):
        return _OLD_NAMES.get(member, member)
    return UNKNOWN


def get_v3_type(kind: str) -> str | None:
    """Return the type of a V3 input or output by the name of its class (`Image`, `Custom(X)`); None if unknown."""
    if kind in _UPPER_CASE:
        return kind.upper()
    if kind in _V3_TYPES:
        return _V3_TYPES[kind]
    if kind.startswith("Custom("):
        return kind.removeprefix("Custom(").removesuffix(")") or None
    return None


def get_input_type(specification: V3InputSpec) -> str | None:
    """Return the type of a V3 input; None if unknown. A `MultiType` is a union of types: `IMAGE,MASK`."""
    if specification.kind != "MultiType":
        return get_v3_type(specification.kind)
    types = list(_list_union(specification))
    if not types or None in types:
        return None
    return ",".join(dict.fromkeys(map(str, types)))


def list_v3_options(specification: V3InputSpec) -> dict[str, Value]:
    """Return the options of a V3 input as the server sends them; `OPEN` among them stands for unknown ones."""
    options = dict(specification.keywords)
    upload = options.pop("upload", None)
    if upload is not None:
        member = upload.name.rpartition("UploadType.")[2] if isinstance(upload, ExternalName) else ""
        options[_UPLOAD_OPTIONS.get(member, OPEN)] = True
    further = options.pop("extra_dict", None)
    if isinstance(further, AbstractDict):
        options.update({str(name): value for name, value in further.entries.items()})
    is_open = isinstance(further, AbstractDict) and (further.is_open or bool(further.possible_keys))
    if is_open or further is UNKNOWN:
        options[OPEN] = True
    return options


def get_v3_width(specification: V3InputSpec) -> int | None:
    """Return how many values a V3 input takes in the editor's `widgets_values`; None if that is unknown."""
    input_type, options = get_input_type(specification), list_v3_options(specification)
    if is_link_forced(options):
        return widget_width(str(specification.name), "", options)
    if input_type is None or has_v3_widget(specification) or OPEN in options:
        return None
    return widget_width(str(specification.name), input_type, options)


def has_v3_widget(specification: V3InputSpec) -> bool:
    """Return whether a V3 input has a widget that its type does not show."""
    inner = get_inner_input(specification)
    has_inner_widget = inner is not None and inner.kind in _WITH_WIDGET | _WITH_PLAIN_WIDGET
    return specification.kind in _WITH_WIDGET or has_inner_widget


def get_inner_input(specification: V3InputSpec) -> V3InputSpec | None:
    """Return the input that a `MultiType` is made of, which may give it a widget; None for every other input."""
    inner = specification.arguments[0] if specification.arguments else specification.keywords.get("id")
    return inner if isinstance(inner, V3InputSpec) else None


def _list_union(specification: V3InputSpec) -> Iterator[str | None]:
    inner = get_inner_input(specification)
    if inner is not None:
        yield get_input_type(inner)
    types = specification.arguments[1] if len(specification.arguments) > 1 else specification.keywords.get("types")
    if not isinstance(types, AbstractList) or types.is_open:
        yield None
        return
    for member in types.values:
        yield get_v3_type(member.name.rpartition(".")[2]) if isinstance(member, ExternalName) else None
