"""Edits of pyproject.toml as text: they keep comments and formatting, and undoing one restores the same bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomlkit
import tomlkit.items
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular

_MAX_PROJECT_BYTES: Final = 16 << 20

BASE_GROUP: Final = "base"
"""The dependency group with ComfyUI's own requirements."""

NODE_PREFIX: Final = "node-"
ADOPTED_GROUP: Final = "adopted"
"""The group of adopted packages that neither ComfyUI nor a node requires, or that come from a URL or folder."""

PACKAGES_GROUP: Final = "packages"
"""The group of packages that the user wants (`gov package add`)."""

PROJECT: Final = "comfy-env"
_INDEX_EXTRA: Final = "indexed"
"""An extra with the packages that have an index of their own, which is locked and never installed: uv looks up the
sources of direct requirements only, and then uses them where another package requires the same one, too."""

_INDEX_PREFIX: Final = "gov-"
OVERRIDES_GROUP: Final = "overrides"
"""A group of this name has no effect in uv; its lines are moved to `override-dependencies`."""

_GENERATED_RANGE: Final = re.compile(r"==\d+\.\d+\.\*|>=\d+\.\d+\.\d+,<\d+\.\d+")
"""The ranges that this program writes; earlier versions wrote `==3.11.*`."""

Override = str | Mapping[str, Any]
"""An entry of `override-dependencies`: a requirement line, or `{package = {name = …}, dependencies = […]}`."""


def render_project(*, python_version: str, marker: str, base: Sequence[str]) -> str:
    """Return a new pyproject.toml.

    Args:
        python_version: The interpreter's version, `3.11.7`; see `build_python_range`.
        marker: The platform of the lock, an environment marker.
        base: ComfyUI's requirement lines.
    """
    return f"""\
# The declared packages of the governed environment. `gov` edits the groups of nodes and [tool.uv]
# override-dependencies, and `gov init` updates the group {BASE_GROUP} from ComfyUI's requirements.txt. Your own groups
# stay as you wrote them; after a manual edit, run: gov init

[project]
name = "{PROJECT}"
version = "0"
requires-python = "{build_python_range(python_version)}"
dependencies = []

[dependency-groups]
{BASE_GROUP} = {_to_toml_array(base).as_string()}

[tool.uv]
package = false
required-version = ">=0.12"
environments = [{tomlkit.string(marker).as_string()}]
"""


def build_python_range(version: str) -> str:
    """Return the `requires-python` of a lock for one interpreter: its version, and later patches of the same minor.

    uv resolves for every version in the range. With `==3.11.*` it refuses a package that requires Python 3.11.5 on an
    interpreter that is 3.11.7, because 3.11.0 is in the range.
    """
    # Not PEP 440: builds of distributions are called `3.12.0+`.
    major, minor, patch = re.findall(r"\d+", version)[:3]
    return f">={major}.{minor}.{patch},<{major}.{int(minor) + 1}"


def set_python(text: str, version: str) -> str:
    """Return the text for an interpreter's version, `3.11.7`; a range that the user wrote stays.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    project = document.get("project", {})
    if not _GENERATED_RANGE.fullmatch(str(project.get("requires-python", ""))):
        return text
    required = build_python_range(version)
    # Assigning an equal value could still change its quotes.
    if project["requires-python"] != required:
        project["requires-python"] = required
    return tomlkit.dumps(document)


def node_group(node_id: str) -> str:
    """Return the name of a node's dependency group."""
    return f"{NODE_PREFIX}{node_id}"


def read_project(path: Path) -> str:
    """Return the text of a pyproject.toml.

    Raises:
        Failure: `gov-truth-damaged` when it is not UTF-8, `file-unreadable` when it cannot be read.
    """
    try:
        return read_regular(path, max_bytes=_MAX_PROJECT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failure(
            "gov-truth-damaged",
            f"pyproject.toml of the governed root is not UTF-8: {error}.",
            hint="Save it as UTF-8, or go back to a snapshot: gov snapshot list.",
        ) from error


def parse_groups(text: str) -> dict[str, tuple[str, ...]]:
    """Return the dependency groups in order, each with its requirement lines.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    table = _parse_toml(text).unwrap().get("dependency-groups", {})
    if not isinstance(table, dict) or not all(isinstance(lines, list) for lines in table.values()):
        raise Failure(
            "gov-truth-damaged",
            "[dependency-groups] in pyproject.toml of the governed root is not a table of lists.",
            hint="Correct the file, or go back to a snapshot: gov snapshot list.",
        )
    # Other items are tables that include another group (PEP 735).
    return {name: tuple(line for line in lines if isinstance(line, str)) for name, lines in table.items()}


def set_group(text: str, group: str, lines: Sequence[str]) -> str:
    """Return the text with a group of exactly these lines, sorted.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    table = document.setdefault("dependency-groups", tomlkit.table())
    table[_find_group_name(table, group)] = _to_toml_array(sorted(lines))
    return tomlkit.dumps(document)


def remove_group(text: str, group: str) -> str:
    """Return the text without a group; after `set_group` with a new group, the same bytes as before it.

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
    return _parse_uv_list(text, "override-dependencies")


def set_overrides(text: str, overrides: Sequence[Override]) -> str:
    """Return the text with exactly these overrides; without any, the key is removed.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return _set_uv_list(text, "override-dependencies", overrides)


def add_constraints(text: str, pins: Sequence[str]) -> str:
    """Return the text with these pins added to `[tool.uv] constraint-dependencies`.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    existing = _parse_uv_list(text, "constraint-dependencies")
    return _set_uv_list(text, "constraint-dependencies", [*existing, *pins])


def parse_constraints(text: str) -> tuple[str, ...]:
    """Return the lines of `[tool.uv] constraint-dependencies`.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return tuple(line for line in _parse_uv_list(text, "constraint-dependencies") if isinstance(line, str))


def set_constraints(text: str, lines: Sequence[str]) -> str:
    """Return the text with exactly these constraints; without any, the key is removed.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return _set_uv_list(text, "constraint-dependencies", lines)


def set_dependency_metadata(text: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the text with exactly these entries of `[tool.uv] dependency-metadata`; without any, the key is removed.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return _set_uv_list(text, "dependency-metadata", entries)


def set_editables(text: str, folders: Mapping[str, str]) -> str:
    """Return the text with these packages installed from folders of this machine, in place (`[tool.uv.sources]`).

    Args:
        text: pyproject.toml.
        folders: The folder of each package, by name.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    if not folders:
        return text
    uv = document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault("uv", tomlkit.table())
    sources = uv.setdefault("sources", tomlkit.table())
    for name, folder in sorted(folders.items()):
        sources[name] = _to_inline_table({"path": folder, "editable": True})
    return tomlkit.dumps(document)


def set_indexes(text: str, indexes: Mapping[str, Sequence[str]]) -> str:
    """Return the text with exactly these package indexes; those that the user wrote by hand stay.

    Args:
        text: pyproject.toml.
        indexes: The packages of each index, by its URL.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    document = _parse_toml(text)
    uv = document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault("uv", tomlkit.table())
    written = uv.unwrap()
    wanted = {_name_index(url): url for url, packages in indexes.items() if packages}
    others = [index for index in written.get("index", ()) if not str(index.get("name")).startswith(_INDEX_PREFIX)]
    entries = [*others, *({"name": name, "url": url, "explicit": True} for name, url in sorted(wanted.items()))]
    sources = {name: _name_index(url) for url, packages in sorted(indexes.items()) for name in packages}
    if entries == written.get("index", []) and sources == _find_index_sources(written):
        return text
    if entries != others or others != written.get("index", []):
        text = _set_uv_list(text, "index", entries)
    return _set_index_sources(text, sources)


def render_requirements(lines: Sequence[str], indexes: Mapping[str, Sequence[str]]) -> str:
    """Return a pyproject.toml that requires these lines, with the indexes of packages."""
    text = f'[project]\nname = "requirements"\nversion = "0"\ndependencies = {_to_toml_array(lines).as_string()}\n'
    return set_indexes(f"{text}\n[tool.uv]\npackage = false\n", indexes)


def _name_index(url: str) -> str:
    return _INDEX_PREFIX + hashlib.sha256(url.encode()).hexdigest()[:8]


def _find_index_sources(uv: Mapping[str, Any]) -> dict[str, str]:
    """Return the index of each package that has one of ours."""
    indexes = {}
    for name, source in uv.get("sources", {}).items():
        index = str(source.get("index", "")) if isinstance(source, Mapping) else ""
        if index.startswith(_INDEX_PREFIX):
            indexes[name] = index
    return indexes


def _set_index_sources(text: str, wanted: Mapping[str, str]) -> str:
    document = _parse_toml(text)
    uv, project = document["tool"]["uv"], document.setdefault("project", tomlkit.table())
    for name in _find_index_sources(uv.unwrap()):
        del uv["sources"][name]
    # Inline tables: the bytes are as before when they are removed.
    if wanted:
        sources = uv.setdefault("sources", tomlkit.inline_table())
        for name, index in wanted.items():
            # A package in a folder of this machine stays there.
            if name not in sources:
                sources[name] = _to_inline_table({"index": index})
        extras = project.setdefault("optional-dependencies", tomlkit.inline_table())
        extras[_INDEX_EXTRA] = sorted(wanted)
        return tomlkit.dumps(document)
    if "sources" in uv and not uv["sources"]:
        del uv["sources"]
    extras = project.get("optional-dependencies", {})
    extras.pop(_INDEX_EXTRA, None)
    if "optional-dependencies" in project and not extras:
        del project["optional-dependencies"]
    return tomlkit.dumps(document)


def convert_overrides_group(text: str) -> str:
    """Return the text with the lines of a group named `overrides` moved to `override-dependencies`.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    lines = parse_groups(text).get(OVERRIDES_GROUP)
    if lines is None:
        return text
    return set_overrides(remove_group(text, OVERRIDES_GROUP), [*parse_overrides(text), *lines])


def _parse_uv_list(text: str, key: str) -> tuple[Override, ...]:
    tool = _parse_toml(text).unwrap().get("tool", {})
    return tuple(tool.get("uv", {}).get(key, ()))


def _set_uv_list(text: str, key: str, overrides: Sequence[Override]) -> str:
    document = _parse_toml(text)
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    uv = tool.setdefault("uv", tomlkit.table())
    if overrides:
        uv[key] = _to_toml_array(overrides)
    elif key in uv:
        del uv[key]
    return tomlkit.dumps(document)


def _parse_toml(text: str) -> Any:
    # Any: tomlkit types an item of a document as a union that allows no access.
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise Failure(
            "gov-truth-damaged", f"pyproject.toml of the governed root is not TOML: {error}.", hint="Correct the file."
        ) from error


def _find_group_name(table: Mapping[str, Any], group: str) -> str:
    """Return the name of a group as it is written in the table; the given name when the table lacks it."""
    # uv and PEP 735 compare normalised names: `node-My_Pack` and `node-my-pack` are one group.
    normalized = canonicalize_name(group)
    return next((name for name in table if canonicalize_name(name) == normalized), group)


def _to_toml_array(overrides: Sequence[Override]) -> tomlkit.items.Array:
    array = tomlkit.array()
    for override in overrides:
        array.append(override if isinstance(override, str) else _to_inline_table(override))
    return array.multiline(bool(overrides))


def _to_inline_table(override: Mapping[str, Any]) -> tomlkit.items.InlineTable:
    table = tomlkit.inline_table()
    for key, value in override.items():
        table[key] = _to_inline_table(value) if isinstance(value, Mapping) else value
    return table
