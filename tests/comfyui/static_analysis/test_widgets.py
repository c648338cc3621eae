from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from comfywatchman.comfyui.static_analysis.widgets import get_upload_kind, is_socket, widget_width


@pytest.mark.parametrize(
    ("name", "input_type", "options", "width"),
    [
        ("model", "MODEL", {}, 0),
        ("steps", "INT", {}, 1),
        ("steps", "Int", {}, 1),
        ("seed", "INT", {}, 2),
        ("noise_seed", "INT", {}, 2),
        ("seed", "INT", {"control_after_generate": False}, 1),
        ("seed", "FLOAT", {}, 1),
        ("any", "INT", {"control_after_generate": True}, 2),
        ("any", "INT", {"control_after_generate": UNKNOWN}, None),
        ("any", "COMBO", {"control_after_generate": True}, None),
        ("image", "COMBO", {"image_upload": True}, 2),
        ("any", "COMBO", {"remote": {}}, None),
        ("text", "STRING", {"forceInput": True}, 0),
        ("text", "STRING", {"force_input": True}, 0),
        ("text", "STRING", {"forceInput": UNKNOWN}, None),
        ("color", "COLOR", {}, None),
        ("any", "COMFY_DYNAMICCOMBO_V3", {}, None),
    ],
)
def test_width_counts_the_values_of_a_widget(
    name: str, input_type: str, options: dict[str, Any], width: int | None
) -> None:
    assert widget_width(name, input_type, options) == width


def test_socket_is_an_input_that_only_a_link_can_feed() -> None:
    assert is_socket("MODEL", {})
    assert is_socket("STRING", {"forceInput": True})
    assert not is_socket("STRING", {})
    assert not is_socket("COLOR", {})
    assert not is_socket("COMFY_AUTOGROW_V3", {})
    assert not is_socket("MODEL", {"socketless": True})


def test_upload_option_gives_the_kind() -> None:
    assert get_upload_kind({"image_upload": True}) == "picture"
    assert get_upload_kind({"audio_upload": True}) == "sound"
    assert get_upload_kind({"image_upload": "yes"}) is None
    assert get_upload_kind({}) is None
