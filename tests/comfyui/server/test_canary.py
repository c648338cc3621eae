from __future__ import annotations

from comfywatchman.comfyui.server.canary import choose_canary


def test_image_prompt_is_chosen_when_its_classes_exist() -> None:
    prompt = choose_canary({"EmptyImage", "PreviewImage", "PreviewAny"}, "unique")
    assert prompt is not None
    assert [node["class_type"] for node in prompt.values()] == ["EmptyImage", "PreviewImage"]


def test_text_prompt_is_chosen_otherwise() -> None:
    expected = {"1": {"class_type": "PreviewAny", "inputs": {"source": "unique"}}}
    assert choose_canary({"PreviewAny"}, "unique") == expected


def test_no_prompt_without_its_classes() -> None:
    assert choose_canary({"PreviewImage"}, "unique") is None
