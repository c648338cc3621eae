from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.comfyui.models.metadata import MAX_ENTRIES, MAX_TEXT, ModelMetadata, read_metadata
from comfywatchman.comfyui.models.safetensors import MAX_CHECKED_BYTES
from tests.model_files import gguf, put, safetensors, with_header


def test_tensors_dtypes_and_parameters_are_counted(tmp_path: Path) -> None:
    result = read_metadata(put(tmp_path / "a.safetensors", safetensors(3, metadata={"format": "pt"})))
    assert result is not None
    assert (result.tensors, result.parameters, result.dtypes) == (3, 24, {"F16": 3})
    assert (result.metadata, result.metadata_entries, result.family) == ({"format": "pt"}, 1, None)


def test_metadata_is_truncated(tmp_path: Path) -> None:
    entries = {f"k{n:04}": "x" * 10_000 for n in range(300)}
    result = read_metadata(put(tmp_path / "a.safetensors", safetensors(1, metadata=entries)))
    assert result is not None
    assert result.metadata_entries == 300
    assert len(result.metadata) == MAX_ENTRIES
    assert {len(value) for value in result.metadata.values()} == {MAX_TEXT}


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
def test_family_is_reported_only_when_certain(
    tmp_path: Path, names: tuple[str, ...], metadata: dict[str, str] | None, family: str | None
) -> None:
    result = read_metadata(put(tmp_path / "a.safetensors", safetensors(names=names, metadata=metadata)))
    assert result is not None
    assert result.family == family


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
def test_file_without_readable_header_has_no_metadata(tmp_path: Path, content: bytes) -> None:
    assert read_metadata(put(tmp_path / "a.safetensors", content)) is None


def test_missing_file_has_no_metadata(tmp_path: Path) -> None:
    assert read_metadata(tmp_path / "absent") is None


def test_unknown_dtype_is_a_broken_header(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 2]}}).encode()
    assert read_metadata(put(tmp_path / "a.safetensors", with_header(header, bytes(2)))) is None


def test_gguf_pairs_are_read(tmp_path: Path) -> None:
    metadata = read_metadata(put(tmp_path / "a.gguf", gguf(2, pairs={"general.architecture": "flux", "b": "c"})))
    assert metadata is not None
    assert (metadata.tensors, metadata.parameters, metadata.family) == (2, None, "flux")
    assert metadata.metadata == {"general.architecture": "flux", "b": "c"}


def pack_pair(name: bytes, value_type: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", value_type) + value


def read_pairs(tmp_path: Path, content: bytes, pairs: int) -> ModelMetadata:
    metadata = read_metadata(put(tmp_path / "a.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, pairs) + content))
    assert metadata is not None
    return metadata


def test_gguf_pairs_before_an_unknown_type_are_kept(tmp_path: Path) -> None:
    texts = struct.pack("<IQ", 8, 2) + (struct.pack("<Q", 1) + b"t") * 2
    numbers = struct.pack("<IQ", 4, 3) + bytes(12)
    content = (
        pack_pair(b"a", 9, texts)
        + pack_pair(b"b", 9, numbers)
        + pack_pair(b"c", 4, b"\7\0\0\0")
        + pack_pair(b"d", 99, b"")
    )
    metadata = read_pairs(tmp_path, content, 9)
    assert metadata.metadata == {"a": "list of 2", "b": "list of 3", "c": "7"}
    assert metadata.metadata_entries == 9


def test_gguf_lengths_beyond_the_file_end_the_reading(tmp_path: Path) -> None:
    huge = struct.pack("<Q", 2**63)
    assert read_pairs(tmp_path, huge + b"x", 2**64 - 1).metadata == {}
    array = pack_pair(b"a", 9, struct.pack("<IQ", 10, 2**64 - 1)) + b"x" * 50
    assert read_pairs(tmp_path, array, 5).metadata == {"a": f"list of {2**64 - 1}"}


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200), pairs=st.integers(0, 2**64 - 1))
@pytest.mark.slow
def test_random_gguf_content_never_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes, pairs: int) -> None:
    assert len(read_pairs(tmp_path_factory.getbasetemp(), content, pairs).metadata) <= len(content)
