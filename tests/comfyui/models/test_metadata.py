from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.comfyui.models.metadata import MAX_ENTRIES, MAX_TEXT, _parse_gguf_pairs, read_metadata
from comfywatchman.comfyui.models.safetensors import MAX_CHECKED_BYTES
from tests.model_files import gguf, put, safetensors, with_header


def test_tensors_types_and_parameters_are_counted(tmp_path: Path) -> None:
    found = read_metadata(put(tmp_path / "a.safetensors", safetensors(3, metadata={"format": "pt"})))
    assert found is not None
    assert (found.tensors, found.parameters, found.dtypes) == (3, 24, {"F16": 3})
    assert (found.metadata, found.metadata_entries, found.family) == ({"format": "pt"}, 1, None)


def test_metadata_is_cut_to_a_bound(tmp_path: Path) -> None:
    written = {f"k{n:04}": "x" * 10_000 for n in range(300)}
    found = read_metadata(put(tmp_path / "a.safetensors", safetensors(1, metadata=written)))
    assert found is not None
    assert found.metadata_entries == 300
    assert len(found.metadata) == MAX_ENTRIES
    assert {len(value) for value in found.metadata.values()} == {MAX_TEXT}


@pytest.mark.parametrize(
    ("names", "metadata", "family"),
    [
        (("a",), {"modelspec.architecture": "flux-1-dev/lora"}, "flux-1-dev/lora"),
        (("a",), {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl_base_v1-0"),
        (("x.lora_A.weight", "x.lora_B.weight"), None, "LoRA"),
        (("model.diffusion_model.x", "conditioner.embedders.1.model.y"), None, "Stable Diffusion XL checkpoint"),
        (("model.diffusion_model.x",), None, None),
    ],
)
def test_a_family_is_named_only_when_it_is_sure(
    tmp_path: Path, names: tuple[str, ...], metadata: dict[str, str] | None, family: str | None
) -> None:
    found = read_metadata(put(tmp_path / "a.safetensors", safetensors(names=names, metadata=metadata)))
    assert found is not None
    assert found.family == family


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        with_header(b"[]"),
        with_header(b"{}"),
        with_header(b"{"),
        with_header(b'{"a": 1}'),
        with_header(b'{"__metadata__": [1], "a": 1}'),
        with_header(json.dumps({"a": {"dtype": "F16", "shape": [10**9, "x"], "data_offsets": [0, 1]}}).encode()),
        struct.pack("<Q", MAX_CHECKED_BYTES + 1) + b"{",
        b"GGUF\3",
    ],
)
def test_what_has_no_readable_header_has_no_metadata(tmp_path: Path, content: bytes) -> None:
    assert read_metadata(put(tmp_path / "a.safetensors", content)) is None


def test_a_missing_file_has_no_metadata(tmp_path: Path) -> None:
    assert read_metadata(tmp_path / "absent") is None


def test_gguf_pairs_are_read(tmp_path: Path) -> None:
    found = read_metadata(put(tmp_path / "a.gguf", gguf(2, pairs={"general.architecture": "flux", "b": "c"})))
    assert found is not None
    assert (found.tensors, found.parameters, found.family) == (2, None, "flux")
    assert found.metadata == {"general.architecture": "flux", "b": "c"}


def pair(name: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def test_gguf_numbers_and_lists_are_read_and_the_rest_is_left() -> None:
    texts = struct.pack("<IQ", 8, 2) + (struct.pack("<Q", 1) + b"t") * 2
    numbers = struct.pack("<IQ", 4, 3) + bytes(12)
    content = pair(b"a", 9, texts) + pair(b"b", 9, numbers) + pair(b"c", 4, b"\7\0\0\0") + pair(b"d", 99, b"")
    assert dict(_parse_gguf_pairs(content, 9)) == {"a": "list of 2", "b": "list of 3", "c": 7}


def test_gguf_lengths_that_lie_end_the_reading() -> None:
    huge = struct.pack("<Q", 2**63)
    assert dict(_parse_gguf_pairs(huge + b"x", 2**64 - 1)) == {}
    assert dict(_parse_gguf_pairs(pair(b"a", 9, struct.pack("<IQ", 10, 2**64 - 1)) + b"x" * 50, 5)) == {
        "a": f"list of {2**64 - 1}"
    }


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_no_gguf_can_crash_the_reading(content: bytes, pairs: int) -> None:
    assert len(dict(_parse_gguf_pairs(content, pairs))) <= len(content)
