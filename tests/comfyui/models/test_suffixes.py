from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.comfyui.models.suffixes import get_suffix


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.SafeTensors", ".safetensors"), (".hidden", ""), ("a.b.GGUF", ".gguf"), ("none", ""), ("d.x/none", "")],
)
def test_suffix_is_lower_case_with_its_dot(name: str, suffix: str) -> None:
    assert get_suffix(name) == suffix


@given(st.text("a./S", max_size=10))
@pytest.mark.slow
def test_suffix_equals_that_of_the_standard_library(name: str) -> None:
    assert get_suffix(name) == os.path.splitext(name)[1].lower()
