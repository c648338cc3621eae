from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.comfyui.models.safetensors import (
    MAX_CHECKED_BYTES,
    check_safetensors,
    measure_data,
    parse_tensor_span,
)
from tests.model_files import safetensors, with_header


def check(content: bytes, *, head_bytes: int = 65536, size: int | None = None) -> tuple[str | None, str]:
    fault, detail = check_safetensors(
        lambda start, count: content[start : start + count],
        content[:head_bytes],
        len(content) if size is None else size,
    )
    return (fault.code if fault else None), detail


def one(**changes: Any) -> bytes:
    tensor = {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 16], **changes}
    return with_header(json.dumps({"a": tensor}).encode(), bytes(16))


def test_a_whole_file_is_healthy_and_counts_its_tensors() -> None:
    assert check(safetensors(5)) == (None, "5 tensors")
    assert check(safetensors(0)) == (None, "0 tensors")


def test_a_header_longer_than_the_first_read_is_fetched() -> None:
    assert check(safetensors(300), head_bytes=64) == (None, "300 tensors")


def test_tensors_may_stand_in_any_order() -> None:
    header = {
        "late": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
        "early": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        "empty": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]},
        "scalar": {"dtype": "F32", "shape": [], "data_offsets": [8, 12]},
    }
    assert check(with_header(json.dumps(header).encode() + b"   ", bytes(12)))[0] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"data_offsets": [1, 17]},
        {"data_offsets": [0, 15]},
        {"data_offsets": [16, 0]},
        {"data_offsets": [-16, 0]},
        {"data_offsets": [0]},
        {"data_offsets": [0, 16, 16]},
        {"data_offsets": "ab"},
        {"data_offsets": [0.0, 16.0]},
        {"data_offsets": [False, 16]},
        {"data_offsets": None},
        {"shape": None},
        {"shape": [2, 5]},
        {"shape": ["2", "4"]},
        {"shape": [10**9, "a" * 10]},
        {"shape": [1] * 64 + [8]},
        {"shape": [2, 4.0]},
        {"shape": {"2": 4}},
        {"dtype": ["F16"]},
    ],
)
def test_an_entry_that_is_no_tensor_is_a_damaged_header(changes: dict[str, Any]) -> None:
    assert check(one(**changes))[0] == "header-invalid"


def test_an_unknown_dtype_is_not_held_against_the_file() -> None:
    assert check(one(dtype="F2_NEW"))[0] is None


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"{" + b"[" * 500,
        b'{"a": NaN}',
        b'{"a": 5}',
        b'{"a": null}',
        b"\xff",
        b"",
        b'{"__metadata__": [1]}',
    ],
)
def test_a_header_that_is_no_json_of_tensors_is_damaged(header: bytes) -> None:
    assert check(with_header(header))[0] == "header-invalid"


def test_metadata_is_text_only() -> None:
    assert check(safetensors(1, metadata={"shape": "x", "dtype": "y"}))[0] is None
    assert check(safetensors(1, metadata={"a": 1}))[0] == "header-invalid"
    assert check(with_header(b'{"__metadata__": null}'))[0] is None


def test_holes_and_overlaps_are_damage() -> None:
    def two(start: int) -> bytes:
        header = {
            "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            "b": {"dtype": "U8", "shape": [4], "data_offsets": [start, start + 4]},
        }
        return with_header(json.dumps(header).encode(), bytes(start + 4))

    assert [check(two(start))[0] for start in (3, 4, 5)] == ["header-invalid", None, "header-invalid"]


def test_the_share_that_is_there_is_named_when_a_file_is_cut() -> None:
    content = safetensors(100)
    fault, _ = check_safetensors(lambda _s, _c: b"", content, len(content) - 100)
    assert fault is not None
    assert fault.code == "truncated"
    assert "(98 %)" in fault.reason


def test_a_giant_header_is_not_parsed() -> None:
    head = struct.pack("<Q", MAX_CHECKED_BYTES + 1) + b"{"
    assert check(head, size=1 << 40) == (None, f"header of {MAX_CHECKED_BYTES + 1} bytes, not checked")
    assert check(struct.pack("<Q", 100_000_001) + b"{", size=1 << 40)[0] == "header-invalid"


def test_a_header_that_cannot_be_read_whole_is_damaged() -> None:
    fault, _ = check_safetensors(lambda _s, _c: b"", safetensors(9)[:30], len(safetensors(9)))
    assert fault is not None
    assert fault.code == "header-invalid"


numbers = st.integers(-(2**70), 2**70) | st.integers(-2, 40)
junk = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
tensor = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "F32", "U8", "F4", "??"]) | junk,
        "shape": st.lists(st.integers(0, 5), max_size=3) | junk,
        "data_offsets": st.tuples(st.integers(0, 40), st.integers(0, 40)) | junk,
    }
)
headers = st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), tensor | junk, max_size=4)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None)
@given(headers | junk, st.binary(max_size=60), st.integers(-4, 4))
def test_no_header_can_crash_the_check(header: Any, data: bytes, skew: int) -> None:
    text = json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogatepass")
    content = struct.pack("<Q", max(0, len(text) + skew)) + text + data
    code, _ = check(content)
    assert code in {None, "truncated", "trailing-bytes", "header-invalid"}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=6), st.integers(-20, 20))
def test_a_file_is_healthy_exactly_when_it_has_the_length_its_header_says(sizes: list[int], skew: int) -> None:
    header: dict[str, Any] = {}
    end = 0
    for number, size in enumerate(sizes):
        header[str(number)] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    skew = max(skew, -end)
    code, _ = check(with_header(json.dumps(header).encode(), bytes(end + skew)))
    assert code == (None if skew == 0 else "truncated" if skew < 0 else "trailing-bytes")


OFFSETS = st.tuples(st.integers(-1, 12), st.integers(-1, 12)).map(list)
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "U8", "F4", "NEW"]),
        "shape": st.lists(st.one_of(st.integers(0, 3), st.just("x"), st.booleans()), max_size=3),
        "data_offsets": st.one_of(OFFSETS, OFFSETS, st.just([0])),
    }
)


def one_by_one(header: dict[str, object]) -> tuple[int, int] | None:
    """Return what looking at each tensor alone says; None for a fault."""
    end = 0
    try:
        spans = sorted(parse_tensor_span(name, tensor) for name, tensor in header.items())
    except ValueError:
        return None
    for start, stop in spans:
        if start != end:
            return None
        end = stop
    return end, len(spans)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from("abcd"), TENSORS, max_size=4))
def test_looking_at_all_tensors_at_once_says_the_same_as_one_by_one(header: dict[str, object]) -> None:
    try:
        together = measure_data(header)
    except ValueError:
        together = None
    assert together == one_by_one(header)
