from __future__ import annotations

import struct
from pathlib import Path

import gguf as library
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.comfyui.models.file import check_header
from comfywatchman.comfyui.models.gguf import BLOCKS, READ_BYTES, measure_minimum_size
from comfywatchman.comfyui.models.metadata import read_metadata
from tests.model_files import put

F16, Q4_K, UNKNOWN_TYPE = 1, 12, 200


def pack_text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pack_pair(name: str, kind: int, value: bytes) -> bytes:
    return pack_text(name) + struct.pack("<I", kind) + value


def pack_texts(*values: str) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(pack_text, values))


PAIRS = (
    pack_pair("general.architecture", 8, pack_text("flux")),
    pack_pair("general.file_type", 4, struct.pack("<I", 15)),
    pack_pair("tokenizer.tokens", 9, pack_texts("a", "bc", "")),
    pack_pair("tokenizer.scores", 9, struct.pack("<IQ3f", 6, 3, 1.0, 2.0, 3.0)),
)


def build_file(
    *tensors: tuple[str, tuple[int, ...], int, int], pairs: tuple[bytes, ...] = PAIRS, alignment: int = 32
) -> bytes:
    """Return a GGUF file whose tensors (name, shape, type, bytes) follow one another, each at its alignment."""
    infos, data = b"", b""
    for name, shape, kind, size in tensors:
        data += bytes(-len(data) % alignment)
        infos += pack_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += b"\1" * size
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    return head + bytes(-len(head) % alignment) + data


MODEL = build_file(("blk.0.weight", (512, 3), Q4_K, 6 * 144), ("blk.0.bias", (7,), F16, 14))
ALIGNED = (*PAIRS, pack_pair("general.alignment", 4, struct.pack("<I", 64)))


def find_problem(tmp_path: Path, content: bytes) -> str | None:
    return check_header(put(tmp_path / "a.gguf", content), len(content)).problem_code


@pytest.mark.parametrize(
    "content",
    [
        MODEL,
        MODEL + bytes(100),
        build_file(),
        build_file(("a", (), F16, 2), pairs=ALIGNED, alignment=64),
        build_file(("a", (2, 3, 4, 5), UNKNOWN_TYPE, 1)),
    ],
)
def test_whole_file_is_healthy(tmp_path: Path, content: bytes) -> None:
    assert find_problem(tmp_path, content) is None


@given(cut=st.integers(min_value=1, max_value=len(MODEL) - 4))
@pytest.mark.slow
def test_file_truncated_anywhere_is_reported(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    assert find_problem(tmp_path_factory.mktemp("cut"), MODEL[:-cut]) == "truncated"


def test_stated_alignment_is_used(tmp_path: Path) -> None:
    content = build_file(("a", (4,), F16, 8), pairs=ALIGNED, alignment=64)
    assert measure_minimum_size(lambda start, count: content[start : start + count], 1, len(ALIGNED)) == len(content)
    assert find_problem(tmp_path, content[:-1]) == "truncated"


@pytest.mark.parametrize(
    "content",
    [
        build_file(pairs=(pack_pair("odd", 77, bytes(8)),)),
        build_file(pairs=(pack_pair("odd", 9, struct.pack("<IQ", 77, 1)),)),
        build_file(pairs=(pack_pair("general.alignment", 4, bytes(4)),)),
        build_file(pairs=(pack_pair("general.alignment", 4, struct.pack("<I", 48)),)),
        build_file(("a", (1, 1, 1, 1, 1), F16, 2)),
    ],
)
def test_header_against_the_format_is_damaged(tmp_path: Path, content: bytes) -> None:
    assert find_problem(tmp_path, content) == "header-invalid"


@pytest.mark.slow
def test_long_header_is_read_on_and_an_endless_one_is_not_judged() -> None:
    tokens = pack_pair("tokens", 9, pack_texts(*["word"] * (READ_BYTES[0] // 8)))
    long = build_file(("a", (1,), F16, 2), pairs=(tokens,))
    assert measure_minimum_size(lambda start, count: long[start : start + count], 1, 1) == len(long)
    endless = build_file(pairs=(pack_pair("text", 8, pack_text("x" * 100)),)) + bytes(READ_BYTES[-1])
    assert measure_minimum_size(lambda start, count: endless[start : start + count], 0, 1 << 40) is None


def test_array_longer_than_any_file_is_a_truncated_file(tmp_path: Path) -> None:
    content = build_file(pairs=(pack_pair("scores", 9, struct.pack("<IQ", 10, 2**63)),))
    assert find_problem(tmp_path, content) == "truncated"


def is_loadable(path: Path) -> bool:
    """Return whether the gguf library, with which ComfyUI-GGUF loads, accepts a file."""
    try:
        library.GGUFReader(path)
    except (ValueError, IndexError, KeyError):
        return False
    return True


def write_with_library(path: Path, *, alignment: int = 32) -> bytes:
    """Write a file with every kind of value and several tensor types, and return its content."""
    writer = library.GGUFWriter(path, "flux")
    writer.add_uint32("general.file_type", 7)
    writer.add_float64("a.float", 0.5)
    writer.add_bool("a.bool", val=True)
    writer.add_array("tokenizer.tokens", ["a", "bc", ""])
    writer.add_array("tokenizer.scores", [1.0, 2.0])
    if alignment != library.GGUF_DEFAULT_ALIGNMENT:
        writer.add_custom_alignment(alignment)
    numbers = np.arange(256, dtype=np.float32)
    writer.add_tensor("float", numbers.reshape(8, 32))
    writer.add_tensor("half", numbers[:7].astype(np.float16))
    quantized = library.quants.quantize(numbers, library.GGMLQuantizationType.Q8_0)
    writer.add_tensor("quantized", quantized, raw_dtype=library.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_block_sizes_are_those_of_the_library() -> None:
    sizes = {int(tensor_type): blocks for tensor_type, blocks in library.GGML_QUANT_SIZES.items()}
    assert sizes == BLOCKS


@pytest.mark.parametrize("alignment", [32, 64, 8])
def test_files_of_the_library_are_healthy(tmp_path: Path, alignment: int) -> None:
    content = write_with_library(tmp_path / "written.gguf", alignment=alignment)
    assert find_problem(tmp_path, content) is None


def test_metadata_of_the_library_is_read(tmp_path: Path) -> None:
    write_with_library(tmp_path / "written.gguf")
    metadata = read_metadata(tmp_path / "written.gguf")
    assert metadata is not None
    assert (metadata.tensors, metadata.family) == (3, "flux")
    assert metadata.metadata == {
        "a.bool": "True",
        "a.float": "0.5",
        "general.architecture": "flux",
        "general.file_type": "7",
        "tokenizer.scores": "list of 2",
        "tokenizer.tokens": "list of 3",
    }


@pytest.mark.parametrize(
    "content",
    [
        MODEL,
        build_file(("a", (), F16, 2), pairs=ALIGNED, alignment=64),
        build_file(("a", (2, 3, 4, 5), F16, 240)),
    ],
)
def test_library_accepts_the_valid_files_of_these_tests(tmp_path: Path, content: bytes) -> None:
    assert is_loadable(put(tmp_path / "a.gguf", content))


@pytest.mark.slow
def test_library_refuses_no_truncated_file_that_the_check_accepts(tmp_path: Path) -> None:
    content = write_with_library(tmp_path / "written.gguf")
    for size in range(24, len(content), 7):
        if find_problem(tmp_path, content[:size]) is None:
            assert is_loadable(tmp_path / "a.gguf")
        elif size > len(content) - library.GGUF_DEFAULT_ALIGNMENT:
            assert not is_loadable(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    "pair",
    [
        pack_pair("odd", 77, bytes(8)),
        pack_pair("general.alignment", 4, struct.pack("<I", 48)),
        pack_pair("general.alignment", 4, bytes(4)),
    ],
)
def test_library_refuses_damaged_pairs_too(tmp_path: Path, pair: bytes) -> None:
    content = build_file(("a", (1,), F16, 2), pairs=(pair,))
    assert find_problem(tmp_path, content) == "header-invalid"
    assert not is_loadable(tmp_path / "a.gguf")
