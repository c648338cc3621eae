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

_MATCH_TYPE: Final = "COMFY_MATCHTYPE_V3"
"""The one such type that stands for a single socket."""

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
    if is_link_forced(options):
        return None if options.get("forceInput") is UNKNOWN else 0
    if input_type in _WIDTH_UNKNOWN or _is_expanded(input_type) or _has_other_widget(input_type, options):
        return None
    if input_type not in WIDGET_TYPES:
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
    if is_link_forced(options):
        return True
    if input_type in WIDGET_TYPES or input_type in _WIDTH_UNKNOWN or _is_expanded(input_type):
        return False
    return not _has_other_widget(input_type, options)


def get_upload_kind(options: Mapping[Any, Any]) -> FileKind | None:
    """Return the kind of file that the editor uploads for a combo; None for a combo without upload."""
    for option, kind in UPLOAD_OPTIONS.items():
        if options.get(option) is True:
            return kind
    return None


def _has_other_widget(input_type: str, options: Mapping[str, Any]) -> bool:
    """Return whether options show a widget that the type does not."""
    if options.get("widgetType") or options.get("widget_type"):
        return True
    return input_type not in WIDGET_TYPES and "socketless" in options


def _is_expanded(input_type: str) -> bool:
    return input_type.startswith(_DYNAMIC_PREFIX) and input_type != _MATCH_TYPE


def is_link_forced(options: Mapping[str, Any]) -> bool:
    """Return whether a class wants a link for an input whose type has a widget."""
    return bool(options.get("forceInput") or options.get("force_input"))
