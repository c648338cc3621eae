"""How classes find files by names, beside the same look-ups written as the packs write them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.comfyui.loaders.name_resolution import NameResolution, get_resolution, resolve_name

NAMES = ("a/detail.safetensors", "detail v1.5.pt", "sub/y.safetensors", "sub/deep/y.ckpt", "zebra.safetensors")


@pytest.mark.parametrize(
    ("resolution", "tries", "expected"),
    [
        (NameResolution.LISTED, ["y", "y.safetensors"], None),
        (NameResolution.LISTED, ["zebra", "zebra.safetensors"], "zebra.safetensors"),
        (NameResolution.ANY_FOLDER, ["y", "y.safetensors"], "sub/y.safetensors"),
        (NameResolution.ANY_FOLDER, ["deep/y.ckpt"], "sub/deep/y.ckpt"),
        (NameResolution.ANY_FOLDER, ["bra.safetensors"], None),
        (NameResolution.BARE_NAME, ["y.safetensors"], "sub/y.safetensors"),
        (NameResolution.BARE_NAME, ["other/y.safetensors"], "sub/y.safetensors"),
        (NameResolution.BARE_NAME, ["detail v1.5.safetensors"], "detail v1.5.pt"),
        (NameResolution.BARE_NAME, ["Y.safetensors"], None),
        (NameResolution.ENDING, ["ub/y.safetensors"], "sub/y.safetensors"),
        (NameResolution.ENDING, ["y"], None),
        (NameResolution.SIMILAR, ["y"], "sub/y.safetensors"),
        (NameResolution.SIMILAR, ["other/y.ckpt"], "sub/deep/y.ckpt"),
        (NameResolution.SIMILAR, ["ebr"], "zebra.safetensors"),
        (NameResolution.SIMILAR, ["nothing"], None),
        (NameResolution.SIMILAR, [""], None),
        (NameResolution.SIMILAR, [], None),
    ],
)
def test_names_find_their_file(resolution: NameResolution, tries: list[str], expected: str | None) -> None:
    assert resolve_name(resolution, tries, NAMES) == expected


def test_classes_of_packs_are_listed_and_others_take_the_names_of_the_server() -> None:
    assert get_resolution("Power Lora Loader (rgthree)") is NameResolution.SIMILAR
    assert get_resolution("Lora Stacker (LoraManager)") is NameResolution.BARE_NAME
    assert get_resolution("ImpactWildcardEncode") is NameResolution.ENDING
    assert get_resolution("LoraLoader") is NameResolution.LISTED


def find_as_power_lora_loader(name: str, listed: list[str]) -> str | None:
    """Look a name up in the order that the documentation of the node gives."""
    keys = [
        (lambda text: text, (name,)),
        (lambda text: os.path.splitext(text)[0], (name, os.path.splitext(name)[0])),
        (os.path.basename, (name, os.path.basename(name))),
        (lambda text: os.path.splitext(os.path.basename(text))[0], (name, os.path.splitext(os.path.basename(name))[0])),
    ]
    for key, wanted in keys:
        for one in wanted:
            for candidate in listed:
                if key(candidate) == one:
                    return candidate
    return next((candidate for candidate in listed if name in candidate), None)


_SEGMENT = st.text("ab.", min_size=1, max_size=3)
_NAME = st.builds("/".join, st.lists(_SEGMENT, min_size=1, max_size=3))


@given(name=_NAME, listed=st.lists(_NAME, unique=True, max_size=6))
def test_similar_name_finds_something_where_the_pack_does(name: str, listed: list[str]) -> None:
    found = resolve_name(NameResolution.SIMILAR, [name], listed)
    assert (found is None) == (find_as_power_lora_loader(name, listed) is None)
