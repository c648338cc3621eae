"""Whatever bytes a media file holds, its reader answers with a workflow, with None or with a Failure."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.workflow.embedded.extract import EmbeddedWorkflow, extract_workflow
from tests.comfyui.workflow.embedded.samples import SAMPLES

pytestmark = pytest.mark.slow

EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
EVIL = st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0\0\0\1", b"\0\0\0\0", b"\x01" + b"\xff" * 7])


def answer(path: Path) -> EmbeddedWorkflow | Failure | None:
    try:
        return extract_workflow(path)
    except Failure as failure:
        return failure


@pytest.mark.parametrize("name", SAMPLES)
def test_file_truncated_at_any_byte_gives_a_result_or_a_failure(tmp_path: Path, name: str) -> None:
    content = SAMPLES[name][1]
    path = tmp_path / "sample"
    path.write_bytes(content)
    step = 1 if len(content) < 5_000 else 997
    answers = set()
    for length in range(len(content) - 1, -1, -step):
        os.truncate(path, length)
        answers.add(type(answer(path)))
    assert Failure in answers
    assert answers <= {EmbeddedWorkflow, Failure, type(None)}


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(name=st.sampled_from(sorted(SAMPLES)), edits=EDITS, evil=st.tuples(st.integers(0, 1 << 20), EVIL))
def test_file_with_any_bytes_changed_gives_a_result_or_a_failure(
    tmp_path: Path, name: str, edits: list[tuple[int, bytes]], evil: tuple[int, bytes]
) -> None:
    content = bytearray(SAMPLES[name][1])
    for place, replacement in (*edits, evil):
        start = place % len(content)
        content[start : start + len(replacement)] = replacement
    path = tmp_path / "sample"
    path.write_bytes(content)
    began = time.process_time()
    assert isinstance(answer(path), EmbeddedWorkflow | Failure | None)
    assert time.process_time() - began < 30
