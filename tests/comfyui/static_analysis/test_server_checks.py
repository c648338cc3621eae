"""Checks that versions of ComfyUI make, read from the parts of their source that differ."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from comfywatchman.comfyui.static_analysis.server_checks import list_check_files, read_server_checks
from comfywatchman.comfyui.validation.rules import UNKNOWN_CHECKS, ServerChecks

EXECUTION = """
async def validate_inputs(prompt_id, prompt, item, validated):
    for x in valid_inputs:
        if isinstance(val, list):
            continue
        else:
            if x not in validate_function_inputs:
                if "min" in extra_info and val < extra_info["min"]:
                    error = {"type": "value_smaller_than_min"}
%s
"""
OLD = """
if isinstance(input_type, list):
    if val not in input_type:
        error = {"type": "value_not_in_list"}
"""
NEW = """
if isinstance(input_type, list) or input_type == io.Combo.io_type:
    if val not in options:
        error = {"type": "value_not_in_list"}
"""
CONVERTED = """
if input_type == "COMBO":
    if val not in options:
        error = {"type": "value_not_in_list"}
"""
TYPES_OLD = """
def validate_node_input(received_type, input_type, strict=False):
    if not isinstance(received_type, str) or not isinstance(input_type, str):
        return False
"""
TYPES_NEW = """
def validate_node_input(received_type, input_type, strict=False):
    if isinstance(received_type, list) and input_type == IO.Combo.io_type:
        return True
"""


def write(root: Path, combo_check: str, type_check: str) -> Path:
    (root / "comfy_execution").mkdir()
    (root / "execution.py").write_text(EXECUTION % indent(dedent(combo_check), " " * 16))
    (root / "comfy_execution" / "validation.py").write_text(type_check)
    return root


@pytest.mark.parametrize(("combo_check", "expected"), [(OLD, False), (NEW, True), (CONVERTED, True), ("pass", None)])
def test_check_of_newer_combos_is_read_from_its_condition(
    tmp_path: Path, combo_check: str, *, expected: bool | None
) -> None:
    assert read_server_checks(write(tmp_path, combo_check, "")).new_combos is expected


@pytest.mark.parametrize(("type_check", "expected"), [(TYPES_OLD, False), (TYPES_NEW, True), ("", None)])
def test_lists_that_feed_combos_are_read_from_the_type_check(
    tmp_path: Path, type_check: str, *, expected: bool | None
) -> None:
    assert read_server_checks(write(tmp_path, OLD, type_check)).lists_feed_combos is expected


def test_source_of_another_shape_is_unknown(tmp_path: Path) -> None:
    assert read_server_checks(tmp_path) == UNKNOWN_CHECKS
    (tmp_path / "execution.py").write_text("def broken(:\n")
    assert read_server_checks(tmp_path) == UNKNOWN_CHECKS
    (tmp_path / "execution.py").write_text("async def validate_inputs():\n    error = 'value_not_in_list'\n")
    assert read_server_checks(tmp_path) == ServerChecks()


def test_all_files_are_watched_for_changes(tmp_path: Path) -> None:
    names = [path.relative_to(tmp_path).as_posix() for path in list_check_files(tmp_path)]
    assert names == ["execution.py", "comfy_execution/validation.py", "comfy_api/latest/_io.py"]


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        ("    def _expand_schema_for_dynamic(out_dict):\n        out_dict['required'][name] = template_input", True),
        ("    def _expand_schema_for_dynamic(out_dict):\n        new_dict['required'] = {}", False),
        ("    pass", None),
    ],
)
def test_growing_inputs_are_needed_where_the_source_declares_them(
    tmp_path: Path, body: str, *, needed: bool | None
) -> None:
    (tmp_path / "comfy_api" / "latest").mkdir(parents=True)
    (tmp_path / "comfy_api" / "latest" / "_io.py").write_text(f"class Int:\n    pass\nclass Autogrow:\n{body}\n")
    assert read_server_checks(tmp_path).grown_inputs is needed


@pytest.mark.parametrize(
    ("guard", "allowed"),
    [("", False), ("            if len(dict_input) == 0:\n                continue\n", True)],
)
def test_optional_growth_fails_where_empty_groups_are_not_skipped(tmp_path: Path, guard: str, *, allowed: bool) -> None:
    (tmp_path / "comfy_api" / "latest").mkdir(parents=True)
    loop = f"        for _, dict_input in input.items():\n{guard}            first = list(dict_input.values())[0]"
    body = f"    def _expand_schema_for_dynamic(out_dict):\n{loop}\n        for name in names:\n            pass\n"
    (tmp_path / "comfy_api" / "latest" / "_io.py").write_text(f"class Autogrow:\n{body}")
    assert read_server_checks(tmp_path).optional_growth is allowed
    (tmp_path / "comfy_api" / "latest" / "_io.py").write_text(f"class Autogrow:\n{body.replace('[0]', '[1]')}")
    assert read_server_checks(tmp_path).optional_growth is None
