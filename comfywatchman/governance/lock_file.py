"""What a uv.lock holds, read without uv. Pure."""

from __future__ import annotations

import tomllib

from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.governance.records import Package


def packages_in(text: str) -> tuple[Package, ...]:
    """Return the packages that a lock would install, sorted; its project, which is no package, left out.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    try:
        listed = tomllib.loads(text).get("package", [])
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Failure(
            "gov-truth-damaged", f"uv.lock is no TOML: {error}.", hint="Run: gov rollback SNAPSHOT"
        ) from error
    found = (one for one in listed if isinstance(one, dict) and "virtual" not in one.get("source", {}))
    return tuple(sorted(Package(canonicalize_name(one["name"]), one["version"]) for one in found if "version" in one))
