"""How long a GGUF file must be, told from its header alone."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.comfyui.models.file import check_header
from comfywatchman.comfyui.models.gguf import READ_BYTES, measure_minimum_size
from tests.model_files import put

F16, Q4_K, NOBODY_KNOWS = 1, 12, 200


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def strings(*values: str) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


PAIRS = (
    pair("general.architecture", 8, text("flux")),
    pair("general.file_type", 4, struct.pack("<I", 15)),
    pair("tokenizer.tokens", 9, strings("a", "bc", "")),
    pair("tokenizer.scores", 9, struct.pack("<IQ3f", 6, 3, 1.0, 2.0, 3.0)),
)


def whole(
    *tensors: tuple[str, tuple[int, ...], int, int], pairs: tuple[bytes, ...] = PAIRS, alignment: int = 32
) -> bytes:
    """Return a GGUF file whose tensors (name, shape, type, bytes) follow one another, each at its alignment."""
    infos, data = b"", b""
    for name, shape, kind, size in tensors:
        data += bytes(-len(data) % alignment)
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += b"\1" * size
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    return head + bytes(-len(head) % alignment) + data


MODEL = whole(("blk.0.weight", (512, 3), Q4_K, 6 * 144), ("blk.0.bias", (7,), F16, 14))
ALIGNED = (*PAIRS, pair("general.alignment", 4, struct.pack("<I", 64)))


def code(tmp_path: Path, content: bytes) -> str | None:
    return check_header(put(tmp_path / "a.gguf", content), len(content)).problem_code


@pytest.mark.parametrize(
    "content",
    [
        MODEL,
        MODEL + bytes(100),
        whole(),
        whole(("a", (), F16, 2), pairs=ALIGNED, alignment=64),
        whole(("a", (2, 3, 4, 5), NOBODY_KNOWS, 1)),
    ],
)
def test_a_whole_file_is_healthy(tmp_path: Path, content: bytes) -> None:
    assert code(tmp_path, content) is None


@given(cut=st.integers(min_value=1, max_value=len(MODEL) - 4))
def test_a_file_that_was_cut_anywhere_is_not(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    assert code(tmp_path_factory.mktemp("cut"), MODEL[:-cut]) == "truncated"


def test_the_alignment_that_the_file_states_counts(tmp_path: Path) -> None:
    content = whole(("a", (4,), F16, 8), pairs=ALIGNED, alignment=64)
    assert measure_minimum_size(lambda start, count: content[start : start + count], 1, len(ALIGNED)) == len(content)
    assert code(tmp_path, content[:-1]) == "truncated"


@pytest.mark.parametrize(
    "content",
    [
        whole(pairs=(pair("odd", 77, bytes(8)),)),
        whole(pairs=(pair("odd", 9, struct.pack("<IQ", 77, 1)),)),
        whole(pairs=(pair("general.alignment", 4, bytes(4)),)),
        whole(("a", (1, 1, 1, 1, 1), F16, 2)),
    ],
)
def test_a_header_that_no_version_describes_is_damaged(tmp_path: Path, content: bytes) -> None:
    assert code(tmp_path, content) == "header-invalid"


@pytest.mark.slow
def test_a_long_header_is_read_on_and_one_without_end_is_not_judged() -> None:
    long = whole(("a", (1,), F16, 2), pairs=(pair("tokens", 9, strings(*["word"] * (READ_BYTES[0] // 8))),))
    assert measure_minimum_size(lambda start, count: long[start : start + count], 1, 1) == len(long)
    endless = whole(pairs=(pair("text", 8, text("x" * 100)),)) + bytes(READ_BYTES[-1])
    assert measure_minimum_size(lambda start, count: endless[start : start + count], 0, 1 << 40) is None
