from __future__ import annotations

from datetime import UTC, datetime

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.names import (
    EXAMPLE,
    MAX_NAME_BYTES,
    build_config_name,
    complete_config_name,
    parse_config_name,
)

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("job_type", ["T2I", "T2V", "SPEECH", "AUDIO", "3D"])
def test_name_of_each_type_has_four_parts(job_type: str) -> None:
    assert parse_config_name(f"{job_type}_20260131093000_12_red_fox.yaml") == {
        "job_type": job_type,
        "timestamp": "20260131093000",
        "index": 12,
        "jobname": "red_fox",
    }


def test_folder_before_the_name_is_ignored() -> None:
    assert parse_config_name(f"/srv/jobs/processing/image/{EXAMPLE}")["jobname"] == "red-fox"


def test_configured_type_is_accepted() -> None:
    assert parse_config_name("UPSCALE_20260131093000_1_x.yaml", ("UPSCALE",))["job_type"] == "UPSCALE"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("T2X_20260131093000_1_fox.yaml", "'T2X' is not a job type"),
        ("t2i_20260131093000_1_fox.yaml", "'t2i' is not a job type"),
        ("T2I_2026013109300_1_fox.yaml", "not a time of 14 digits"),
        ("T2I_20260231093000_1_fox.yaml", "no such time as 20260231093000"),
        ("T2I_20260131253000_1_fox.yaml", "no such time"),
        ("T2I_٢٠٢٦٠١٣١٠٩٣٠٠٠_1_fox.yaml", "not a time of 14 digits"),
        ("T2I_20260131093000_x_fox.yaml", "'x' is not a number"),
        ("T2I_20260131093000_-1_fox.yaml", "'-1' is not a number"),
        ("T2I_20260131093000_1_.yaml", "does not have the form"),
        ("T2I_20260131093000_1_fox.yml", "does not have the form"),
        ("T2I_20260131093000_1.yaml", "does not have the form"),
        ("fox.yaml", "does not have the form"),
        ("", "does not have the form"),
        ("T2I_20260131093000_1_a\nb.yaml", r"contains '\\n'"),
        ("T2I_20260131093000_1_a\\b.yaml", r"contains '\\\\'"),
        ("T2I_20260131093000_1_%date%.yaml", "contains '%'"),
        ("T2I_20260131093000_1_ .yaml", "begins or ends with a dot or a space"),
        ("T2I_20260131093000_1_...yaml", "begins or ends with a dot or a space"),
        (f"T2I_20260131093000_1_{'é' * 100}.yaml", f"longer than {MAX_NAME_BYTES} bytes"),
        ("T2I_20260131093000_1_a\udcff.yaml", "contains"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_config_name(name)


def test_refused_name_is_an_expected_error_too() -> None:
    with pytest.raises(Failure) as caught:
        parse_config_name("fox.yaml")
    assert caught.value.code == "jobs-file-invalid"


def test_name_without_suffix_is_completed() -> None:
    assert complete_config_name("T2I_1_fox") == "T2I_1_fox.yaml"
    assert complete_config_name("jobs/processing/image/T2I_1_fox.yaml") == "T2I_1_fox.yaml"


def test_decomposed_name_is_the_composed_one() -> None:
    assert complete_config_name("cafe\u0301") == "caf\u00e9.yaml"


def test_new_name_can_be_parsed() -> None:
    name = build_config_name("3D", MOMENT, 7, "red fox")
    assert name == "3D_20260131093000_7_red fox.yaml"
    assert parse_config_name(name)["index"] == 7


def test_new_name_with_a_slash_is_refused() -> None:
    with pytest.raises(ValueError, match="no job's"):
        build_config_name("T2I", MOMENT, 1, "a/b")
