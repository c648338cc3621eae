"""The declared truth: edits of pyproject.toml as text that keep what people wrote and come back to the same bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import tomlkit
import tomlkit.items
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError

from comfywatchman.base.errors import Failure

BASE_GROUP: Final = "base"
"""The group of what ComfyUI itself needs."""

NODE_PREFIX: Final = "node-"
PROJECT: Final = "comfy-env"
OVERRIDES_GROUP: Final = "overrides"
"""A group of this name overrides nothing for uv; its lines are moved to where they do."""

_SINGLE_MINOR: Final = re.compile(r"==\d+\.\d+\.\*")

Override = str | Mapping[str, Any]
"""An entry of `override-dependencies`: a requirement line, or `{package = {name = …}, dependencies = […]}`."""


def render_project(*, python_version: str, marker: str, base: Sequence[str]) -> str:
    """Return a new pyproject.toml.

    Args:
        python_version: Major and minor version, `3.11`: the lock is for this Python alone.
        marker: The platform that the lock is for, an environment marker.
        base: Requirement lines of ComfyUI.
    """
    return f"""\
# The declared truth of the governed environment. `gov` edits the groups of nodes and [tool.uv] override-dependencies,
# and `gov init` reads the group {BASE_GROUP} from ComfyUI's requirements.txt again. Groups of yours stay as you wrote
# them; after an edit by hand: gov init.

[project]
name = "{PROJECT}"
version = "0"
requires-python = "=={python_version}.*"
dependencies = []

[dependency-groups]
{BASE_GROUP} = {_to_toml_array(base).as_string()}

[tool.uv]
package = false
required-version = ">=0.12"
environments = [{tomlkit.string(marker).as_string()}]
"""


def set_python(text: str, version: str) -> str:
    """Return the text for another Python, major and minor version; a range that a person wrote stays.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    project = document.get("project", {})
    if not _SINGLE_MINOR.fullmatch(str(project.get("requires-python", ""))):
        return text
    if project["requires-python"] != f"=={version}.*":
        project["requires-python"] = f"=={version}.*"
    return tomlkit.dumps(document)


def node_group(node_id: str) -> str:
    """Return the name of a node's group."""
    return f"{NODE_PREFIX}{node_id}"


def parse_groups(text: str) -> dict[str, tuple[str, ...]]:
    """Return the dependency groups in order, each with its requirement lines.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    found = _parse_toml(text).unwrap().get("dependency-groups", {})
    return {name: tuple(line for line in lines if isinstance(line, str)) for name, lines in found.items()}


def set_group(text: str, group: str, lines: Sequence[str]) -> str:
    """Return the text with a group that holds exactly these lines, sorted.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    table = document.setdefault("dependency-groups", tomlkit.table())
    name = _find_group_name(table, group)
    table[name] = _to_toml_array(sorted(lines))
    return tomlkit.dumps(document)


def remove_group(text: str, group: str) -> str:
    """Return the text without a group; the bytes from before `with_group` when it was added last.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    table = document.get("dependency-groups", {})
    name = _find_group_name(table, group)
    if name not in table:
        return text
    del table[name]
    return tomlkit.dumps(document)


def parse_overrides(text: str) -> tuple[Override, ...]:
    """Return the entries of `[tool.uv] override-dependencies`.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return tuple(_parse_toml(text).unwrap().get("tool", {}).get("uv", {}).get("override-dependencies", ()))


def set_overrides(text: str, entries: Sequence[Override]) -> str:
    """Return the text with exactly these overrides; without entries the key goes.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return _set_uv_list(text, "override-dependencies", entries)


def add_constraints(text: str, pins: Sequence[str]) -> str:
    """Return the text with `[tool.uv] constraint-dependencies` of these pins added to those that it has.

    Only for the first pass of a lock: it keeps the versions that were tested.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    own = _parse_toml(text).unwrap().get("tool", {}).get("uv", {}).get("constraint-dependencies", ())
    return _set_uv_list(text, "constraint-dependencies", [*own, *pins])


def convert_overrides_group(text: str) -> str:
    """Return the text with the lines of a group named `overrides` moved to `override-dependencies`.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    lines = parse_groups(text).get(OVERRIDES_GROUP)
    if lines is None:
        return text
    return set_overrides(remove_group(text, OVERRIDES_GROUP), [*parse_overrides(text), *lines])


def _set_uv_list(text: str, key: str, entries: Sequence[Override]) -> str:
    document = _parse_toml(text)
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    uv = tool.setdefault("uv", tomlkit.table())
    if entries:
        uv[key] = _to_toml_array(entries)
    elif key in uv:
        del uv[key]
    return tomlkit.dumps(document)


def _parse_toml(text: str) -> Any:
    # Any: tomlkit types an item of a document as a union that no access fits.
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise Failure(
            "gov-truth-damaged", f"pyproject.toml of the governed root is no TOML: {error}.", hint="Correct the file."
        ) from error


def _find_group_name(table: Mapping[str, Any], group: str) -> str:
    # uv and PEP 735 compare group names in normalised form: `node-My_Pack` and `node-my-pack` are one group.
    return next((name for name in table if canonicalize_name(name) == canonicalize_name(group)), group)


def _to_toml_array(entries: Sequence[Override]) -> tomlkit.items.Array:
    array = tomlkit.array()
    for entry in entries:
        array.append(entry if isinstance(entry, str) else _to_inline_table(entry))
    return array.multiline(bool(entries))


def _to_inline_table(entry: Mapping[str, Any]) -> tomlkit.items.InlineTable:
    table = tomlkit.inline_table()
    for key, value in entry.items():
        table[key] = _to_inline_table(value) if isinstance(value, Mapping) else value
    return table
