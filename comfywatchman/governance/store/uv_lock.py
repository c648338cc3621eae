"""Reading a uv.lock without uv. Pure."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.governance.store.records import InstalledPackage

_ADDRESS_KINDS: Final = ("url", "git", "path", "directory", "editable")


def parse_packages(text: str) -> tuple[InstalledPackage, ...]:
    """Return the packages that a lock installs, sorted; without the project itself.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    # uv leaves out the version of a local folder that computes it when it is built.
    entries = [entry for entry in _parse_entries(text) if "version" in entry]
    return tuple(sorted(InstalledPackage(canonicalize_name(entry["name"]), entry["version"]) for entry in entries))


def parse_freeze_lines(text: str) -> tuple[str, ...]:
    """Return the packages that a lock installs as lines of `uv pip freeze`, with addresses where there are any.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return tuple(sorted(_to_freeze_line(entry) for entry in _parse_entries(text)))


def parse_file_hashes(text: str) -> dict[InstalledPackage, tuple[str, ...]]:
    """Return the SHA-256 of each file that a lock names for a package, sorted; packages without hashes are left out.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    hashes = {}
    for entry in _parse_entries(text):
        files = [*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])]
        digests = {file["hash"].removeprefix("sha256:") for file in files if file.get("hash", "").startswith("sha256:")}
        if digests and "version" in entry:
            package = InstalledPackage(canonicalize_name(entry["name"]), entry["version"])
            hashes[package] = tuple(sorted(digests))
    return hashes


def _to_freeze_line(entry: dict[str, Any]) -> str:
    source = entry.get("source", {})
    for kind in _ADDRESS_KINDS:
        # Another address is another build, even in the same version.
        if kind in source:
            return f"{entry['name']} @ {source[kind]}"
    return f"{entry['name']}=={entry.get('version', '')}"


def _parse_entries(text: str) -> list[dict[str, Any]]:
    try:
        entries = parse_toml(text).get("package", [])
    except tomllib.TOMLDecodeError as error:
        raise Failure(
            "gov-truth-damaged", f"uv.lock is not TOML: {error}.", hint="Run: gov rollback SNAPSHOT"
        ) from error
    # The project itself has a virtual source.
    return [entry for entry in entries if isinstance(entry, dict) and "virtual" not in entry.get("source", {})]
