"""Packs and packages that are known to do harm; each with why and where it is told."""

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
from comfywatchman.governance.nodes.identity import derive_id, normalize_id

_FILE: Final = Path(__file__).with_name("deny_list.json")
_PACK: Final = "pack:"


class DenyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One pack or package that is known to do harm.

    Attributes:
        kind: Whether a custom node pack or a Python package is meant.
        name: The pack's id, or the package's name.
        versions: The versions that do harm; none named means all.
        level: `blocked` is never installed; `flagged` is reported.
        reason: What it does, for people.
        source: Where that is told.
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
    """What must not be installed, and what is to be reported.

    Attributes:
        entries: All that is denied; what the host's owner allowed is not among them.
    """

    entries: tuple[DenyEntry, ...]

    def pack(self, node_id: str, url: str = "") -> DenyEntry | None:
        """Return why a pack is not trusted, by its id or by its repository's name; None when nothing is known."""
        names = {normalize_id(node_id)} | _derive_ids(url)
        return self._first(
            entry for entry in self.entries if entry.kind == "pack" and normalize_id(entry.name) in names
        )

    def package(self, name: str, version: str | None = None) -> DenyEntry | None:
        """Return why a package is not trusted; a version that is not known counts only where all are denied."""
        wanted = canonicalize_name(name)
        return self._first(
            entry
            for entry in self.entries
            if entry.kind == "package" and canonicalize_name(entry.name) == wanted and _is_affected(entry, version)
        )

    def constraints(self) -> tuple[str, ...]:
        """Return requirement lines that keep a resolver from the versions that do harm, in order."""
        return tuple(
            sorted(f"{one.name}{','.join(f'!={version}' for version in one.versions)}" for one in self._ranges())
        )

    def ruled_out(self, words: str) -> tuple[DenyEntry, ...]:
        """Return the entries of which uv says that without these versions there is no solution.

        It writes `name!=1.0` as `name<1.0` or `name>1.0`.
        """
        return tuple(
            one
            for one in self._ranges()
            if any(
                f"{canonicalize_name(one.name)}{sign}{version}" in words for version in one.versions for sign in "<>"
            )
        )

    def _ranges(self) -> list[DenyEntry]:
        return [one for one in self.entries if one.kind == "package" and one.level == "blocked" and one.versions]

    @staticmethod
    def _first(found: Iterable[DenyEntry]) -> DenyEntry | None:
        return min(found, key=lambda entry: entry.level, default=None)


def build_deny_list(deny: Iterable[str] = (), allow: Iterable[str] = ()) -> DenyList:
    """Return the list that comes with the program, with what the configuration adds and takes away.

    Args:
        deny: `name`, `name==version` or `pack:ID`, from `[policy] deny`.
        allow: The same; what is named here is not denied.
    """
    allowed = {
        _build_key(entry.kind, entry.name, version)
        for entry in map(_parse_entry, allow)
        for version in _versions_or_any(entry)
    }
    kept = (_remove_allowed(entry, allowed) for entry in (*_load_shipped(), *map(_parse_entry, deny)))
    return DenyList(tuple(entry for entry in kept if entry is not None))


def refuse_denied(entry: DenyEntry | None, what: str) -> None:
    """Stop when something is blocked.

    Args:
        entry: What the list says; None or a flag lets it pass.
        what: What was asked for, as the person knows it.

    Raises:
        Failure: `gov-denied`.
    """
    if entry is not None and entry.level == "blocked":
        name = f"pack:{entry.name}" if entry.kind == "pack" else entry.name
        raise Failure(
            "gov-denied",
            f"{what} is on the deny list: {entry.reason}",
            hint=f"Read {entry.source}; if you are sure, name {name!r} in [policy] allow of the governed config.toml.",
        )


@cache
def _load_shipped() -> tuple[DenyEntry, ...]:
    return msgspec.json.decode(_FILE.read_bytes(), type=_DenyListFile).entries


def _parse_entry(text: str) -> DenyEntry:
    is_pack = text.startswith(_PACK)
    name, _, version = text.removeprefix(_PACK).partition("==")
    return DenyEntry(
        kind="pack" if is_pack else "package",
        name=name.strip(),
        versions=(version.strip(),) if version and not is_pack else (),
        reason="It is named in [policy] deny.",
        source="the governed config.toml",
    )


def _versions_or_any(entry: DenyEntry) -> tuple[str, ...]:
    return entry.versions or ("",)


def _build_key(kind: str, name: str, version: str) -> tuple[str, str, str]:
    return kind, normalize_id(name), version


def _remove_allowed(entry: DenyEntry, allowed: set[tuple[str, str, str]]) -> DenyEntry | None:
    if _build_key(entry.kind, entry.name, "") in allowed:
        return None
    left = tuple(version for version in entry.versions if _build_key(entry.kind, entry.name, version) not in allowed)
    return None if entry.versions and not left else msgspec.structs.replace(entry, versions=left)


def _derive_ids(url: str) -> set[str]:
    try:
        return {normalize_id(derive_id(url))} if url else set()
    except Failure:
        return set()


def _is_affected(entry: DenyEntry, version: str | None) -> bool:
    if not entry.versions:
        return True
    if version is None:
        return False
    return _parse_version(version) in map(_parse_version, entry.versions)


def _parse_version(version: str) -> Version | str:
    # A local part (`8.3.41+cu128`) names another build of the same release.
    try:
        return Version(Version(version).public)
    except InvalidVersion:
        return version
