"""Resolving changed copies of the declared truth aside: what would become of it, without touching it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.snapshot import read_root_files
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.lock_file import parse_packages
from comfywatchman.governance.store.records import RequirementEdge
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.uv import overrides
from comfywatchman.governance.uv.client import UvResult

_PROJECT = "pyproject.toml"
_LOCK = "uv.lock"


def resolve_versions(context: GovContext, project: str) -> dict[str, str] | UvResult:
    """Resolve a text of pyproject.toml in a private folder.

    Args:
        context: The context; its lock must be held.
        project: The text; what is locked now is preferred where it fits.

    Returns:
        The locked versions by normalised name; what uv said when there is no solution.
    """
    now = read_root_files(context.layout).get(_LOCK)
    locked = {} if now is None else {_LOCK: now}
    with staging.open_staging(context.layout, contents={_PROJECT: project.encode("utf-8"), **locked}) as work:
        ended = work.lock(context.uv, context.python)
        if not ended.is_success:
            return ended
        packages = parse_packages((work.folder / _LOCK).read_text("utf-8"))
    return {one.name: one.version for one in packages}


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
        pins: Checked pins.
        edit: Gives the text of pyproject.toml with overrides in it.
        edges: Who asks for what, as far as uv said.
        extras: The extras that anybody asks for, by normalised name.

    Returns:
        The overrides; what uv said when there is no solution even with overrides of everybody.
    """
    narrow, wide = overrides.build_scoped_overrides(pins, edges, extras), overrides.build_global_overrides(pins, extras)
    if narrow != wide and not isinstance(resolve_versions(context, edit(narrow)), UvResult):
        return narrow
    found = resolve_versions(context, edit(wide))
    return found if isinstance(found, UvResult) else wide


def find_extras(layout: GovLayout, project: str, *, environment: str) -> dict[str, set[str]]:
    """Return the extras that anybody asks for: declared lines, what is locked, and what a candidate holds.

    Args:
        layout: The governed root.
        project: The text of pyproject.toml.
        environment: The folder of a candidate environment; empty or gone for none.
    """
    declared = [line for lines in truth.parse_groups(project).values() for line in lines]
    lock = read_root_files(layout).get(_LOCK, b"").decode("utf-8", "replace")
    return overrides.collect_extras([*declared, *_read_locked_extras(lock), *_read_installed_requirements(environment)])


def _read_locked_extras(lock: str) -> Iterator[str]:
    try:
        packages = tomllib.loads(lock).get("package", ())
    except tomllib.TOMLDecodeError:
        return
    for wanted in (wanted for package in packages for wanted in package.get("dependencies", ())):
        if extras := wanted.get("extra"):
            yield f"{wanted['name']}[{','.join(extras)}]"


def _read_installed_requirements(environment: str) -> Iterator[str]:
    if environment and Path(environment).is_dir():
        for lines in candidate.read_requires(Path(environment)).values():
            yield from lines
