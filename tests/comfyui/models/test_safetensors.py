from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
import safetensors as library
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.comfyui.models.safetensors import (
    ITEM_BITS,
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


def build_file(**changes: Any) -> bytes:
    tensor = {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 16], **changes}
    return with_header(json.dumps({"a": tensor}).encode(), bytes(16))


def test_whole_file_is_healthy_and_its_tensors_are_counted() -> None:
    assert check(safetensors(5)) == (None, "5 tensors")
    assert check(safetensors(0)) == (None, "0 tensors")


def test_header_longer_than_the_first_read_is_read_on() -> None:
    assert check(safetensors(300), head_bytes=64) == (None, "300 tensors")


def test_tensors_may_have_any_order() -> None:
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
        {"dtype": None},
        {"shape": [-2, -4]},
        {"shape": {}, "data_offsets": [0, 2]},
    ],
)
def test_entry_that_is_not_a_tensor_is_a_damaged_header(changes: dict[str, Any]) -> None:
    assert check(build_file(**changes))[0] == "header-invalid"


@pytest.mark.parametrize("dtype", ["F99", "f16", "F8_E4M3FN", "C128", ""])
def test_unknown_dtype_is_a_damaged_header(dtype: str) -> None:
    assert check(build_file(dtype=dtype))[0] == "header-invalid"
    with pytest.raises(ValueError, match="unknown dtype"):
        parse_tensor_span("a", {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, 16]})


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
def test_header_that_is_not_json_of_tensors_is_damaged(header: bytes) -> None:
    assert check(with_header(header))[0] == "header-invalid"


def test_metadata_must_be_a_map_of_texts() -> None:
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


def test_truncated_file_names_the_present_share() -> None:
    content = safetensors(100)
    fault, _ = check_safetensors(lambda _s, _c: b"", content, len(content) - 100)
    assert fault is not None
    assert fault.code == "truncated"
    assert "(98 %)" in fault.reason


def test_giant_header_is_not_parsed() -> None:
    head = struct.pack("<Q", MAX_CHECKED_BYTES + 1) + b"{"
    assert check(head, size=1 << 40) == (None, f"header of {MAX_CHECKED_BYTES + 1} bytes, not checked")
    assert check(struct.pack("<Q", 100_000_001) + b"{", size=1 << 40)[0] == "header-invalid"


def test_header_that_cannot_be_read_whole_is_damaged() -> None:
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
def test_random_headers_never_raise(header: Any, data: bytes, skew: int) -> None:
    text = json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogatepass")
    content = struct.pack("<Q", max(0, len(text) + skew)) + text + data
    code, _ = check(content)
    assert code in {None, "truncated", "trailing-bytes", "header-invalid"}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=6), st.integers(-20, 20))
@pytest.mark.slow
def test_file_is_healthy_exactly_when_its_size_fits_its_header(sizes: list[int], skew: int) -> None:
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


def measure_one_by_one(header: dict[str, object]) -> tuple[int, int] | None:
    """Return the end of the data and the number of tensors, checking each alone; None for a fault."""
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
def test_checking_all_tensors_at_once_equals_one_by_one(header: dict[str, object]) -> None:
    try:
        together = measure_data(header)
    except ValueError:
        together = None
    assert together == measure_one_by_one(header)


deserialize: Callable[[bytes], object] = library.deserialize


def is_loadable(content: bytes) -> bool:
    """Return whether the safetensors library accepts a file."""
    try:
        deserialize(content)
    except library.SafetensorError:
        return False
    return True


VALID = [
    safetensors(0),
    safetensors(3, metadata={"format": "pt"}),
    with_header(b'{"__metadata__": null}  '),
    build_file(),
    build_file(extra="ignored"),
    build_file(dtype="F4", shape=[4, 8]),
]


@pytest.mark.parametrize("content", VALID)
def test_library_accepts_the_valid_files_of_these_tests(content: bytes) -> None:
    assert is_loadable(content)
    assert check(content)[0] is None


@pytest.mark.parametrize("dtype", [*ITEM_BITS, "F99", "f16", "BF8", "I4", "U4", "F8_E3M4", "F128"])
def test_dtypes_and_their_sizes_are_those_of_the_library(dtype: str) -> None:
    for bits in (1, 2, 4, 6, 8, 16, 32, 64, 128):
        content = with_header(
            json.dumps({"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, bits]}}).encode(), bytes(bits)
        )
        assert (check(content)[0] is None) == is_loadable(content) == (ITEM_BITS.get(dtype) == bits)


@given(st.sampled_from(VALID), st.data())
@pytest.mark.slow
def test_library_and_check_agree_on_damaged_files(content: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(content)))
    damaged = data.draw(
        st.sampled_from([content[:position], content + b"!", content[:position] + b"0" + content[position + 1 :]])
    )
    assert (check(damaged)[0] is None) == is_loadable(damaged)


dtypes = st.sampled_from([*ITEM_BITS, "F99", "f16"]) | junk
described_tensor = st.fixed_dictionaries(
    {
        "dtype": dtypes,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | junk,
        "data_offsets": st.tuples(st.just(0) | st.integers(0, 40), st.sampled_from([0, 2, 4, 8, 16]) | numbers) | junk,
    }
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), described_tensor | junk, max_size=3))
@pytest.mark.slow
def test_library_and_check_agree_on_random_headers(header: dict[str, Any]) -> None:
    # With the data that the header asks for, so that most differences are those of the header's rules.
    ends = [entry["data_offsets"][1] for entry in header.values() if is_described(entry)]
    content = with_header(json.dumps(header).encode(), bytes(min(max(ends, default=0), 1000)))
    assert (check(content)[0] is None) == is_loadable(content)


def is_described(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("data_offsets"), list | tuple):
        return False
    offsets = entry["data_offsets"]
    return len(offsets) == 2 and isinstance(offsets[1], int) and offsets[1] >= 0
