"""Calls of ComfyUI's V3 node API (`io.Schema(…)`, `io.Int.Input(…)`): an older ComfyUI rejects newer arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep, Step
from comfywatchman.comfyui.static_analysis.outline_names import NameTable

_API: Final = "comfy_api."
_CUSTOM: Final = ".Custom"


def build_api_steps(call: ast.Call, table: NameTable) -> Iterator[Step]:
    """Yield the steps of a call of the node API; none for other calls.

    Args:
        call: The call.
        table: The meaning of the names around it.
    """
    name = _get_api_name(call.func, table)
    if name is None:
        return
    keywords: list[str] = []
    is_open = any(isinstance(argument, ast.Starred) for argument in call.args)
    for keyword in call.keywords:
        names = [keyword.arg] if keyword.arg is not None else _list_keys(keyword.value, table)
        keywords += names or ()
        is_open = is_open or names is None
    inputs, outputs = (_list_ids(call, name) for name in ("inputs", "outputs"))
    yield ApiCallStep(call.lineno, name, len(call.args), tuple(keywords), is_open, inputs, outputs)


def _get_api_name(function: ast.expr, table: NameTable) -> str | None:
    """Return the dotted name of a function of the API; `…Custom().Input` for a type that the source makes itself."""
    dotted = table.get_dotted_name(function)
    if dotted is not None:
        return dotted if dotted.startswith(_API) else None
    if not isinstance(function, ast.Attribute):
        return None
    owner = function.value
    if isinstance(owner, ast.Name):
        owner = table.definitions.get(owner.id, owner)
    if not isinstance(owner, ast.Call):
        return None
    maker = table.get_dotted_name(owner.func)
    if maker is None or not (maker.startswith(_API) and maker.endswith(_CUSTOM)):
        return None
    return f"{maker}().{function.attr}"


def _list_keys(mapping: ast.expr, table: NameTable) -> list[str] | None:
    """Return the keywords that `**mapping` stands for; None when they are not known."""
    if isinstance(mapping, ast.Name):
        mapping = table.definitions.get(mapping.id, mapping)
    if not isinstance(mapping, ast.Dict):
        return None
    keys = [key.value for key in mapping.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return keys if len(keys) == len(mapping.keys) else None


def _list_ids(schema: ast.Call, argument: str) -> tuple[str, ...]:
    """Return the ids of the inputs or outputs that a call of `io.Schema` lists."""
    ids: list[str] = []
    for keyword in schema.keywords:
        if keyword.arg == argument and isinstance(keyword.value, ast.List):
            for element in keyword.value.elts:
                name = _get_id(element)
                if name is not None:
                    ids.append(name)
    return tuple(ids)


def _get_id(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    # A first argument that is a text is the id.
    values = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "id")]
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None
