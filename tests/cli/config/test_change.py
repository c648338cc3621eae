"""`comfywatchman config set` and `config unset`."""

from __future__ import annotations

import json
from pathlib import Path

from comfywatchman.base.errors import Failure
from tests.cli.config.runs import run_config, user_file


def test_value_is_set_changed_and_removed(tmp_path: Path) -> None:
    place = user_file(tmp_path)
    key = "schedule.min_vram_gb"
    outputs = [
        run_config(tmp_path, *arguments).output
        for arguments in (
            ("set", key, "8"),
            ("set", key, "9"),
            ("set", key, "9"),
            ("unset", key),
            ("unset", key),
        )
    ]
    assert outputs == [
        f"{key} = 8 in {place}.\n",
        f"{key} = 9 in {place} (it was 8).\n",
        f"{key} is already 9 in {place}.\n",
        f"{key} is no longer set in {place} (it was 9).\n",
        f"{key} is not set in {place}.\n",
    ]


def test_later_origin_is_named(tmp_path: Path) -> None:
    variables = {"COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB": "3"}
    result = run_config(tmp_path, "set", "schedule.min_vram_gb", "8", **variables)
    assert "It has no effect yet: environment COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB sets" in result.output


def test_change_is_printed_as_json(tmp_path: Path) -> None:
    facts = json.loads(run_config(tmp_path, "set", "--json", "schedule.gpu_policy", "all").output)
    assert facts == {
        "schema_version": 1,
        "file": str(user_file(tmp_path)),
        "key": "schedule.gpu_policy",
        "before": None,
        "after": '"all"',
        "overridden_by": None,
    }


def test_broken_value_can_be_repaired(tmp_path: Path) -> None:
    place = user_file(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_text('[schedule]\nmin_vram_gb = "much"\n')
    assert isinstance(run_config(tmp_path).exception, Failure)
    result = run_config(tmp_path, "set", "schedule.min_vram_gb", "8")
    assert result.exit_code == 0
    assert place.read_text() == "[schedule]\nmin_vram_gb = 8\n"


def test_new_secret_is_said_to_be_set_though_both_are_masked(tmp_path: Path) -> None:
    for token in ("hf_one", "hf_two"):
        result = run_config(tmp_path, "set", "secrets.hf_token", token)
        assert result.output.startswith("secrets.hf_token = ********")
        assert token not in result.output


def test_negative_number_is_a_value(tmp_path: Path) -> None:
    failure = run_config(tmp_path, "set", "schedule.min_vram_gb", "-1").exception
    assert isinstance(failure, Failure)
    assert failure.message.endswith("it must be a number of at least 0.")


def test_missing_folder_is_noted(tmp_path: Path) -> None:
    output = run_config(tmp_path, "set", "comfyui.root", str(tmp_path / "none")).output
    assert output.splitlines()[-1] == f"Note: {tmp_path / 'none'} does not exist."
