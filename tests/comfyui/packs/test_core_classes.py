"""The shipped list of ComfyUI's own classes."""

from __future__ import annotations

import pytest

from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY, load_core_classes, parse_version


def test_every_class_has_a_comparable_version() -> None:
    known = load_core_classes()
    assert len(known) > 900
    assert all(parse_version(version) for version in known.values())


def test_classes_of_many_versions_are_known() -> None:
    known = load_core_classes()
    assert parse_version(known["KSampler"]) < (0, 3, 64)  # type: ignore[operator]  # held above
    assert known["LoadMoGeModel"] == "0.21.1"


@pytest.mark.parametrize(
    "name",
    ["GetItemFromList", "GeminiNodeV3", "PixverseV6TextToVideoNode", "ByteDanceSeedreamLayerSeparationNodeV2"],
)
def test_classes_of_newer_versions_than_any_source_are_known(name: str) -> None:
    assert (parse_version(load_core_classes()[name]) or ()) > (0, 33, 0)


def test_editor_only_classes_are_not_core_classes() -> None:
    assert not EDITOR_ONLY & load_core_classes().keys()
    assert "Image Comparer (rgthree)" not in EDITOR_ONLY


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0.3.75", (0, 3, 75)),
        ("v0.33.0", (0, 33, 0)),
        ("0.33.0+dev", (0, 33, 0)),
        ("unknown", None),
        ("a125cd84b054a57729b5eecab930ca9408719832", None),
        ("", None),
        (None, None),
    ],
)
def test_versions_are_parsed_to_numbers(text: str | None, key: tuple[int, ...] | None) -> None:
    assert parse_version(text) == key
