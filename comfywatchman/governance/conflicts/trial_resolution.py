"""Trial resolution: lock changed copies of the truth files in a staging folder; the root is not changed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.snapshot import read_root_files
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.store.uv_lock import parse_packages
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.uv import overrides
from comfywatchman.governance.uv.client import UvResult

_PROJECT: Final = "pyproject.toml"
_LOCK: Final = "uv.lock"


def resolve_versions(context: GovContext, project: str) -> dict[str, str] | UvResult:
    """Resolve a pyproject.toml in a staging folder; locked versions are preferred where they fit.

    Args:
        context: The context; its lock must be held.
        project: The text of pyproject.toml.

    Returns:
        The versions by normalised name, or uv's failure when there is no solution.
    """
    contents = {_PROJECT: project.encode("utf-8")}
    lock = read_root_files(context.layout).get(_LOCK)
    if lock is not None:
        contents[_LOCK] = lock
    with staging.open_staging(context.layout, contents=contents) as staging_dir:
        result = staging_dir.lock(context.uv, context.python)
        if not result.is_success:
            return result
        packages = parse_packages((staging_dir.folder / _LOCK).read_text("utf-8"))
    return {package.name: package.version for package in packages}


def find_overrides(
    context: GovContext,
    pins: Sequence[str],
    edit: Callable[[Sequence[Override]], str],
    *,
    edges: Sequence[RequirementEdge],
    extras: Mapping[str, set[str]],
) -> tuple[Override, ...] | UvResult:
    """Find the narrowest overrides with which pins can be resolved.

    Args:
        context: The context; its lock must be held.
        pins: Pins in normal form.
        edit: Returns the text of pyproject.toml with the given overrides.
        edges: The requirements that uv named.
        extras: The extras that are required somewhere, by normalised name.

    Returns:
        The overrides, or uv's failure when not even global overrides have a solution.
    """
    scoped_overrides = overrides.build_scoped_overrides(pins, edges, extras)
    global_overrides = overrides.build_global_overrides(pins, extras)
    if scoped_overrides != global_overrides:
        result = resolve_versions(context, edit(scoped_overrides))
        if not isinstance(result, UvResult):
            return scoped_overrides
    result = resolve_versions(context, edit(global_overrides))
    return result if isinstance(result, UvResult) else global_overrides


def find_extras(layout: GovLayout, project: str, *, environment: str) -> dict[str, set[str]]:
    """Return the extras that are required somewhere: by declared lines, by locked packages, or in a candidate.

    Args:
        layout: The governed root.
        project: The text of pyproject.toml.
        environment: The folder of a candidate environment; empty or missing for none.
    """
    lines: list[str] = []
    for group_lines in truth.parse_groups(project).values():
        lines += group_lines
    lines += _read_locked_extras(read_root_files(layout).get(_LOCK, b"").decode("utf-8", "replace"))
    lines += _read_installed_requirements(environment)
    return overrides.collect_extras(lines)


def _read_locked_extras(lock: str) -> Iterator[str]:
    """Yield a line such as `package[extra]` for each locked dependency with extras."""
    try:
        packages = parse_toml(lock).get("package", ())
    except tomllib.TOMLDecodeError:
        # A damaged lock is reported by the command that locks.
        return
    for package in packages:
        for dependency in package.get("dependencies", ()):
            extras = dependency.get("extra")
            if extras:
                yield f"{dependency['name']}[{','.join(extras)}]"


def _read_installed_requirements(environment: str) -> Iterator[str]:
    if environment and Path(environment).is_dir():
        for lines in candidate.read_requires(Path(environment)).values():
            yield from lines
