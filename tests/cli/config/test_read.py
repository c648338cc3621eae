"""`comfywatchman config get` and `config validate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from tests.cli.config.runs import run_config, user_file


@pytest.mark.parametrize(
    ("key", "output"),
    [
        ("schedule.min_vram_gb", "6.0"),
        ("schedule.gpu_policy", "any"),
        ("workflows.media", "true"),
        ("search.backend_order", '["qwen","civitai"]'),
    ],
)
def test_value_is_printed_for_scripts(tmp_path: Path, key: str, output: str) -> None:
    assert run_config(tmp_path, "get", key).output == f"{output}\n"


def test_value_and_origin_are_printed_as_json(tmp_path: Path) -> None:
    facts = json.loads(run_config(tmp_path, "get", "--json", "schedule.gpu_policy").output)
    assert facts == {"schema_version": 1, "key": "schedule.gpu_policy", "value": "any", "origin": "default"}


def test_unknown_key_has_a_suggestion(tmp_path: Path) -> None:
    failure = run_config(tmp_path, "get", "schedule.min_vram").exception
    assert isinstance(failure, Failure)
    assert failure.hint == "The closest known key is 'schedule.min_vram_gb'."


def test_section_has_its_keys_listed(tmp_path: Path) -> None:
    failure = run_config(tmp_path, "get", "report").exception
    assert isinstance(failure, Failure)
    assert failure.hint == (
        "Name one of its keys: report.intake_entries, report.history_entries, report.redact_inputs."
    )


def test_sources_of_a_valid_configuration_are_counted(tmp_path: Path) -> None:
    run_config(tmp_path, "set", "schedule.gpu_policy", "all")
    result = run_config(tmp_path, "validate", COMFYWATCHMAN_WORKFLOWS__MEDIA="false")
    assert result.output.splitlines() == [
        "environment COMFYWATCHMAN_WORKFLOWS__MEDIA: 1 key",
        f"{user_file(tmp_path)}: 1 key",
        "The configuration is valid.",
    ]


def test_defaults_are_valid(tmp_path: Path) -> None:
    assert run_config(tmp_path, "validate").output == "The configuration is valid: every key has its default.\n"


def test_one_file_is_checked_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[schedule]\nmin_vram_gb = 1\n")
    facts = json.loads(run_config(tmp_path, "validate", "--json", str(file)).output)
    assert facts == {"schema_version": 1, "valid": True, "sources": [{"origin": str(file), "keys": 1}]}
    file.write_text("[schedule]\nmin_vram_gb = -1\n")
    failure = run_config(tmp_path, "validate", str(file)).exception
    assert isinstance(failure, Failure)
    assert failure.code == "config-wrong-type"


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    result = run_config(tmp_path, "validate", str(tmp_path / "none.toml"))
    assert result.exit_code == 2
    assert "does not exist" in result.output


def test_options_of_the_group_are_not_lost_before_a_command(tmp_path: Path) -> None:
    result = run_config(tmp_path, "--json", "get", "schedule.gpu_policy")
    assert result.exit_code == 2
    assert "after its name" in result.output
