"""Widgets of the editor: how many values an input takes in `widgets_values`, and which inputs have no widget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from comfywatchman.comfyui.loaders.upload_inputs import UPLOAD_OPTIONS, FileKind
from comfywatchman.comfyui.static_analysis.values import UNKNOWN

WIDGET_TYPES: Final = frozenset(
    {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "Int", "Float", "String", "Boolean", "Combo"}
)
"""Types with a widget, as a server names them and as the source of a V3 node does."""

COMBO_TYPES: Final = frozenset({"COMBO", "COMBO_MULTI"})
"""Types of a combo in the newer notation, whose choices are among its options."""

_WIDTH_UNKNOWN: Final = frozenset(
    {"DynamicCombo", "Autogrow", "DynamicSlot", "MultiType", "MultiCombo", "Webcam", "Load3D", "Color", "Curve"}
    | {"COLOR", "CURVE", "WEBCAM", "LOAD_3D", "LOAD_3D_ANIMATION", "BOUNDING_BOX", "IMAGECOMPARE", "AUDIO_RECORD"}
)
_DYNAMIC_PREFIX: Final = "COMFY_"
"""Begins the types that the editor expands into several inputs."""

_UPLOAD_BUTTONS: Final = frozenset({"image_upload", "video_upload", "audio_upload", "animated_image_upload", "upload"})
_SEEDS: Final = frozenset({"seed", "noise_seed"})


def widget_width(name: str, input_type: str, options: Mapping[str, Any]) -> int | None:
    """Return how many values an input takes in the editor's `widgets_values`; None if that is unknown.

    Links take none. A seed brings its "control after generate", an upload its button.

    Args:
        name: Input name.
        input_type: Its type as a server (`INT`, `COMBO`) or the source of a V3 node (`Int`, `Combo`) names it.
        options: The options of the input.
    """
    if input_type in _WIDTH_UNKNOWN or input_type.startswith(_DYNAMIC_PREFIX):
        return None
    if options.get("forceInput") is UNKNOWN:
        return None
    if input_type not in WIDGET_TYPES or _is_link_forced(options):
        return 0
    has_control = options.get("control_after_generate")
    if has_control is None:
        # The editor adds the control to integers with these names by itself.
        has_control = name in _SEEDS and input_type in {"INT", "Int"}
    if has_control is UNKNOWN or "remote" in options:
        return None
    # The control of a combo may bring a filter as well.
    if has_control and input_type in {"COMBO", "Combo"}:
        return None
    has_button = any(options.get(button) for button in _UPLOAD_BUTTONS)
    return 1 + bool(has_control) + has_button


def is_socket(input_type: str, options: Mapping[str, Any]) -> bool:
    """Return whether only a link can feed an input: its type has no widget, or the class disables it."""
    if _is_link_forced(options):
        return True
    if input_type in WIDGET_TYPES or input_type in _WIDTH_UNKNOWN or input_type.startswith(_DYNAMIC_PREFIX):
        return False
    return options.get("socketless") is not True


def get_upload_kind(options: Mapping[Any, Any]) -> FileKind | None:
    """Return the kind of file that the editor uploads for a combo; None for a combo without upload."""
    for option, kind in UPLOAD_OPTIONS.items():
        if options.get(option) is True:
            return kind
    return None


def _is_link_forced(options: Mapping[str, Any]) -> bool:
    return bool(options.get("forceInput") or options.get("force_input"))
