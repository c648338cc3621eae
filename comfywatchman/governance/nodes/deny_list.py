"""The deny list: node packs and packages that are known to do harm, each with its reason and source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import decode_json
from comfywatchman.governance.nodes.identity import derive_id, normalize_id

_FILE: Final = Path(__file__).with_name("deny_list.json")
_PACK: Final = "pack:"


class DenyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A pack or package that is known to do harm.

    Attributes:
        kind: Whether it is a custom node pack or a Python package.
        name: The pack's id, or the package's name.
        versions: The harmful versions; empty for all.
        level: `blocked` entries are never installed; `flagged` ones are reported.
        reason: What it does, for people.
        source: Where this was published.
    """

    kind: Literal["pack", "package"]
    name: str
    versions: tuple[str, ...] = ()
    level: Literal["blocked", "flagged"] = "blocked"
    reason: str
    source: str


class _DenyListFile(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int
    entries: tuple[DenyEntry, ...]


@dataclass(frozen=True, slots=True)
class DenyList:
    """The deny list of a governed root.

    Attributes:
        entries: The shipped and configured entries, without those that the configuration allows.
    """

    entries: tuple[DenyEntry, ...]

    def find_pack(self, node_id: str, url: str = "") -> DenyEntry | None:
        """Return the entry for a pack, found by its id or its repository's name; None when there is none."""
        ids = {normalize_id(node_id), *_derive_ids(url)}
        return _find_most_severe(
            entry for entry in self.entries if entry.kind == "pack" and normalize_id(entry.name) in ids
        )

    def find_package(self, name: str, version: str | None = None) -> DenyEntry | None:
        """Return the entry for a package; an unknown version only matches entries for all versions."""
        normalized = canonicalize_name(name)
        return _find_most_severe(
            entry
            for entry in self.entries
            if entry.kind == "package" and canonicalize_name(entry.name) == normalized and _is_affected(entry, version)
        )

    def constraints(self) -> tuple[str, ...]:
        """Return requirement lines that keep a resolver from harmful versions, sorted."""
        lines = []
        for entry in self._list_version_entries():
            exclusions = ",".join(f"!={version}" for version in entry.versions)
            lines.append(f"{entry.name}{exclusions}")
        return tuple(sorted(lines))

    def find_conflicting_entries(self, uv_output: str) -> tuple[DenyEntry, ...]:
        """Return the entries whose exclusion made a resolution fail, according to uv's error message."""
        ruled_out = []
        for entry in self._list_version_entries():
            name = canonicalize_name(entry.name)
            # uv writes the constraint `name!=1.0` as `name<1.0` or `name>1.0`.
            clauses = [f"{name}{sign}{version}" for version in entry.versions for sign in "<>"]
            if any(clause in uv_output for clause in clauses):
                ruled_out.append(entry)
        return tuple(ruled_out)

    def _list_version_entries(self) -> list[DenyEntry]:
        """Return the package entries that block some versions, but not all."""
        return [
            entry for entry in self.entries if entry.kind == "package" and entry.level == "blocked" and entry.versions
        ]


def build_deny_list(deny: Iterable[str] = (), allow: Iterable[str] = ()) -> DenyList:
    """Return the shipped list with the additions and exceptions of the configuration.

    Args:
        deny: `name`, `name==version` or `pack:ID`, from `[policy] deny`.
        allow: The same forms, from `[policy] allow`; they take entries off the list.
    """
    allowed = set()
    for text in allow:
        entry = _parse_entry(text)
        allowed |= {_build_key(entry.kind, entry.name, version) for version in entry.versions or ("",)}
    entries = []
    for entry in (*_load_default_entries(), *(_parse_entry(text) for text in deny)):
        remaining = _apply_exceptions(entry, allowed)
        if remaining is not None:
            entries.append(remaining)
    return DenyList(tuple(entries))


def enforce_deny_list(entry: DenyEntry | None, subject: str) -> None:
    """Raise when an entry blocks something.

    Args:
        entry: The entry that was found; None and flagged entries pass.
        subject: The subject of the message, such as `The pack NAME`.

    Raises:
        Failure: `gov-denied`.
    """
    if entry is None or entry.level != "blocked":
        return
    name = f"{_PACK}{entry.name}" if entry.kind == "pack" else entry.name
    raise Failure(
        "gov-denied",
        f"{subject} is on the deny list: {entry.reason}",
        hint=f"Read {entry.source}. To allow it, add {name!r} to [policy] allow in the config.toml of the "
        "governed root.",
    )


@cache
def _load_default_entries() -> tuple[DenyEntry, ...]:
    return decode_json(_FILE.read_bytes(), _DenyListFile).entries


def _parse_entry(text: str) -> DenyEntry:
    is_pack = text.startswith(_PACK)
    name, _, version = text.removeprefix(_PACK).partition("==")
    has_version = bool(version) and not is_pack
    return DenyEntry(
        kind="pack" if is_pack else "package",
        name=name.strip(),
        versions=(version.strip(),) if has_version else (),
        reason="It is listed in [policy] deny.",
        source="the config.toml of the governed root",
    )


def _build_key(kind: str, name: str, version: str) -> tuple[str, str, str]:
    return kind, normalize_id(name), version


def _apply_exceptions(entry: DenyEntry, allowed: set[tuple[str, str, str]]) -> DenyEntry | None:
    """Return an entry without its allowed versions; None when nothing of it remains."""
    if _build_key(entry.kind, entry.name, "") in allowed:
        return None
    if not entry.versions:
        return entry
    versions = tuple(
        version for version in entry.versions if _build_key(entry.kind, entry.name, version) not in allowed
    )
    return msgspec.structs.replace(entry, versions=versions) if versions else None


def _find_most_severe(entries: Iterable[DenyEntry]) -> DenyEntry | None:
    # "blocked" sorts before "flagged".
    return min(entries, key=lambda entry: entry.level, default=None)


def _derive_ids(url: str) -> set[str]:
    if not url:
        return set()
    try:
        return {normalize_id(derive_id(url))}
    except Failure:
        return set()


def _is_affected(entry: DenyEntry, version: str | None) -> bool:
    if not entry.versions:
        return True
    if version is None:
        return False
    return _parse_version(version) in {_parse_version(listed) for listed in entry.versions}


def _parse_version(version: str) -> Version | str:
    try:
        # A local part (`8.3.41+cu128`) names another build of the same release.
        return Version(Version(version).public)
    except InvalidVersion:
        return version
