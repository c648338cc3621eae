from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from comfywatchman.jobs.records import JobInputFile, JobSpec, JobStatus, decode_spec, encode_spec

SPEC = JobSpec(
    config_name="T2I_20261130120000_1_cat.yaml",
    job_type="T2I",
    media="image",
    workflow_id="empty-image",
    inputs={"prompt": "a cat", "seed": 7, "scale": 1.5, "tags": ["a", None]},
    output_path="cats",
    input_files=(JobInputFile("image", "/in/a.png", "00ff", 12),),
    repeats=({"seed": 1}, {"seed": 2}),
    deadline_seconds=90.0,
    webhook="http://127.0.0.1:9/end",
    command=("notify", "{name}"),
    source_path="/jobs/processing/image/T2I_20261130120000_1_cat.yaml",
    source_sha256="ab",
)


def test_description_survives_the_database() -> None:
    assert decode_spec(encode_spec(SPEC)) == SPEC


def test_same_description_has_the_same_text() -> None:
    reordered = replace(SPEC, inputs=dict(reversed(list(SPEC.inputs.items()))))
    assert encode_spec(reordered) == encode_spec(SPEC)


def test_description_with_characters_no_database_stores_survives() -> None:
    spec = replace(SPEC, inputs={"prompt": "a\x00b"}, source_path="/jobs/\udcff.yaml")
    assert encode_spec(spec).isascii()
    assert decode_spec(encode_spec(spec)) == spec


def test_description_of_another_shape_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_spec('{"config_name": 1}')


def test_only_waiting_and_running_jobs_are_open() -> None:
    assert {status for status in JobStatus if not status.is_terminal} == {JobStatus.PENDING, JobStatus.PROCESSING}
