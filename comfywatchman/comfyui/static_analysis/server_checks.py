"""Find out from ComfyUI's source which checks its version makes when it validates a prompt."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES
from comfywatchman.comfyui.validation.rules import ServerChecks

_EXECUTION: Final = "execution.py"
_TYPE_CHECKS: Final = "comfy_execution/validation.py"
_NODE_API: Final = "comfy_api/latest/_io.py"
_CHOICE_ERROR: Final = "value_not_in_list"
"""ComfyUI's name for a value that is not one of the choices."""

_FIRST_OF_GROUP: Final = "list(dict_input.values())[0]"
"""The expression with which ComfyUI takes the first input of a group; it fails for an empty one."""


def list_check_files(comfyui_root: Path) -> list[Path]:
    """Return the files that `read_server_checks` reads; they may be absent."""
    return [comfyui_root / path for path in (_EXECUTION, _TYPE_CHECKS, _NODE_API)]


def read_server_checks(comfyui_root: Path) -> ServerChecks:
    """Read the checks that differ between versions; None for those that the source does not show."""
    execution, type_checks, node_api = map(_parse_file, list_check_files(comfyui_root))
    return ServerChecks(
        new_combos=_checks_new_combos(execution),
        lists_feed_combos=_lets_lists_feed_combos(type_checks),
        grown_inputs=_needs_grown_inputs(node_api),
        optional_growth=_allows_optional_growth(node_api),
    )


def _parse_file(path: Path) -> ast.Module:
    try:
        return ast.parse(read_regular(path, max_bytes=MAX_SOURCE_BYTES))
    except (Failure, SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])


def _checks_new_combos(module: ast.Module) -> bool | None:
    """Return whether `validate_inputs` compares the value of a combo in the newer notation with its choices.

    ComfyUI 0.3.75 does so under `isinstance(input_type, list)`, later versions under
    `isinstance(input_type, list) or input_type == io.Combo.io_type`.
    """
    conditions = [ast.unparse(test) for test in _find_conditions(_find_function(module, "validate_inputs"))]
    if any("Combo" in condition or "'COMBO'" in condition for condition in conditions):
        return True
    if any("list" in condition for condition in conditions):
        return False
    return None


def _find_conditions(function: ast.AST | None) -> Iterator[ast.expr]:
    """Yield the conditions under which a function reports a value that is not one of the choices."""
    if function is None:
        return
    for part in ast.walk(function):
        if isinstance(part, ast.If) and any(_is_choice_error(inner) for body in part.body for inner in ast.walk(body)):
            yield part.test


def _is_choice_error(part: ast.AST) -> bool:
    return isinstance(part, ast.Constant) and part.value == _CHOICE_ERROR


def _lets_lists_feed_combos(module: ast.Module) -> bool | None:
    """Return whether `validate_node_input` accepts an output whose type is a list of choices for a combo."""
    function = _find_function(module, "validate_node_input")
    if function is None:
        return None
    conditions = [ast.unparse(part.test) for part in ast.walk(function) if isinstance(part, ast.If)]
    return any("list" in condition and "Combo" in condition for condition in conditions)


def _needs_grown_inputs(module: ast.Module) -> bool | None:
    """Return whether a growing input declares its first inputs, even those that a prompt does not give.

    ComfyUI 0.7 declares only those that the prompt gives; 0.28 and 0.33 put all of them into `out_dict["required"]`.
    """
    function = _find_growth(module)
    return None if function is None else "out_dict['required'][" in ast.unparse(function)


def _allows_optional_growth(module: ast.Module) -> bool | None:
    """Return whether a growing input may add optional inputs.

    ComfyUI 0.7 takes the first input of each group, required or optional, and fails because the required group of
    such an input is empty; 0.28 and 0.33 skip an empty group.
    """
    function = _find_growth(module)
    if function is None:
        return None
    for part in ast.walk(function):
        if isinstance(part, ast.For) and _FIRST_OF_GROUP in ast.unparse(part):
            return any(isinstance(inner, ast.If) for inner in part.body)
    return None


def _find_growth(module: ast.Module) -> ast.AST | None:
    """Return the function that puts the inputs of a growing input in its place; None where there is none."""
    for part in module.body:
        if isinstance(part, ast.ClassDef) and part.name == "Autogrow":
            return _find_function(ast.Module(part.body, []), "_expand_schema_for_dynamic")
    return None


def _find_function(module: ast.Module, name: str) -> ast.AST | None:
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
            return statement
    return None
