"""What a uv.lock holds, read without uv. Pure."""

from __future__ import annotations

import tomllib
from typing import Any

from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.records import InstalledPackage


def parse_packages(text: str) -> tuple[InstalledPackage, ...]:
    """Return the packages that a lock would install, sorted; its project, which is no package, left out.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    found = (one for one in _parse_entries(text) if "version" in one)
    return tuple(sorted(InstalledPackage(canonicalize_name(one["name"]), one["version"]) for one in found))


def parse_freeze_lines(text: str) -> tuple[str, ...]:
    """Return what a lock would install as lines of `uv pip freeze`: of the same version an address is another build.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return tuple(sorted(_to_freeze_line(one) for one in _parse_entries(text)))


def _to_freeze_line(one: dict[str, Any]) -> str:
    source = one.get("source", {})
    address = next((source[kind] for kind in ("url", "git", "path", "directory", "editable") if kind in source), None)
    return f"{one['name']}=={one.get('version', '')}" if address is None else f"{one['name']} @ {address}"


def _parse_entries(text: str) -> list[dict[str, Any]]:
    try:
        listed = tomllib.loads(text).get("package", [])
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Failure(
            "gov-truth-damaged", f"uv.lock is no TOML: {error}.", hint="Run: gov rollback SNAPSHOT"
        ) from error
    return [one for one in listed if isinstance(one, dict) and "virtual" not in one.get("source", {})]
