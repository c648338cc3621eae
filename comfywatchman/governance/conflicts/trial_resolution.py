"""Resolving changed copies of the declared truth aside: what would become of it, without touching it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import Ground
from comfywatchman.governance.environments.snapshot import read_truth
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.lock_file import packages_in
from comfywatchman.governance.store.records import Edge
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.uv import overrides
from comfywatchman.governance.uv.client import UvEnded

_PROJECT = "pyproject.toml"
_LOCK = "uv.lock"


def versions_of(ground: Ground, project: str) -> dict[str, str] | UvEnded:
    """Resolve a text of pyproject.toml in a private folder.

    Args:
        ground: The ground; its lock must be held.
        project: The text; what is locked now is preferred where it fits.

    Returns:
        The locked versions by normalised name; what uv said when there is no solution.
    """
    now = read_truth(ground.layout.root).get(_LOCK)
    locked = {} if now is None else {_LOCK: now}
    with staging.opened(ground, contents={_PROJECT: project.encode("utf-8"), **locked}) as work:
        ended = work.lock(ground)
        if not ended.is_well:
            return ended
        packages = packages_in((work.folder / _LOCK).read_text("utf-8"))
    return {one.name: one.version for one in packages}


def overruled(
    ground: Ground,
    pins: Sequence[str],
    edit: Callable[[Sequence[Override]], str],
    *,
    edges: Sequence[Edge],
    extras: Mapping[str, set[str]],
) -> tuple[Override, ...] | UvEnded:
    """Find the narrowest overrides with which pins can be resolved.

    Args:
        ground: The ground; its lock must be held.
        pins: Checked pins.
        edit: Gives the text of pyproject.toml with overrides in it.
        edges: Who asks for what, as far as uv said.
        extras: The extras that anybody asks for, by normalised name.

    Returns:
        The overrides; what uv said when there is no solution even with overrides of everybody.
    """
    narrow, wide = overrides.scoped(pins, edges, extras), overrides.everywhere(pins, extras)
    if narrow != wide and not isinstance(versions_of(ground, edit(narrow)), UvEnded):
        return narrow
    found = versions_of(ground, edit(wide))
    return found if isinstance(found, UvEnded) else wide


def extras_of(ground: Ground, project: str, *, environment: str) -> dict[str, set[str]]:
    """Return the extras that anybody asks for: declared lines, what is locked, and what a candidate holds.

    Args:
        ground: The ground.
        project: The text of pyproject.toml.
        environment: The folder of a candidate environment; empty or gone for none.
    """
    declared = [line for lines in truth.groups(project).values() for line in lines]
    lock = read_truth(ground.layout.root).get(_LOCK, b"").decode("utf-8", "replace")
    return overrides.extras_wanted([*declared, *_locked_wishes(lock), *_installed_wishes(environment)])


def _locked_wishes(lock: str) -> Iterator[str]:
    try:
        packages = tomllib.loads(lock).get("package", ())
    except tomllib.TOMLDecodeError:
        return
    for wanted in (wanted for package in packages for wanted in package.get("dependencies", ())):
        if extras := wanted.get("extra"):
            yield f"{wanted['name']}[{','.join(extras)}]"


def _installed_wishes(environment: str) -> Iterator[str]:
    if environment and Path(environment).is_dir():
        for lines in candidate.requires_of(Path(environment)).values():
            yield from lines
