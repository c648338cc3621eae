"""Which node packages are said to bring a class: ComfyUI-Manager's map, as installed on the host or kept as a copy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, write_if_changed

MAP_NAME: Final = "extension-node-map.json"
LIST_NAME: Final = "custom-node-list.json"
MAX_MAP_BYTES: Final = 64 << 20

_FORMAT: Final = 1
_MAX_CLASS_LENGTH: Final = 200
_MAX_PATTERN_LENGTH: Final = 200
_REPEATED_GROUP: Final = re.compile(r"[*+}]\)*[)\]][*+{]|\)[*+{]|\\\d|\(\?")


class PackageRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node package that somebody says brings a class.

    Attributes:
        id: Comfy Registry id where one is known, else the repository's name.
        url: Its repository.
        title: Its name for people.
        evidence: Who says so, in words.
    """

    id: str
    url: str | None = None
    title: str | None = None
    evidence: str = ""


class ClassMap(msgspec.Struct, frozen=True):
    """The map, compact.

    Attributes:
        source: What it was made from, in words.
        stamp: Changes with the files it was made from.
        packages: Every package that brings a class.
        classes: Places in `packages` by class.
        preempted: Package that the map's keepers prefer for a class which several bring.
        patterns: Regular expression over class names, and the place of its package.
        format: Version of this form.
    """

    source: str
    stamp: str
    packages: tuple[PackageRef, ...]
    classes: dict[str, tuple[int, ...]]
    preempted: dict[str, int]
    patterns: tuple[tuple[str, int], ...]
    format: int = _FORMAT

    def owners(self, class_type: str) -> tuple[PackageRef, ...]:
        """Return who brings a class; several when the map names several, none when it knows nobody.

        A package that the map's keepers prefer for a class stands alone; name patterns are asked last.
        """
        preferred = self.preempted.get(class_type)
        if preferred is not None:
            return (self._named(preferred, "preferred in"),)
        places = self.classes.get(class_type, ())
        if places:
            return tuple(self._named(place, "listed in") for place in places)
        if len(class_type) > _MAX_CLASS_LENGTH:
            return ()
        matching = {place: None for pattern, place in self.patterns if re.search(pattern, class_type)}
        return tuple(self._named(place, "by the pattern of its names in") for place in matching)

    def _named(self, place: int, how: str) -> PackageRef:
        return msgspec.structs.replace(self.packages[place], evidence=f"{how} {self.source}")


def find_manager_map_folder(folders: Iterable[Path]) -> Path | None:
    """Return the first folder that holds the Manager's two lists.

    Args:
        folders: Where the Manager may be installed: `custom_nodes/ComfyUI-Manager`, and the folder
            `comfyui_manager` of the server's site-packages.
    """
    return next((folder for folder in folders if os.path.isfile(folder / MAP_NAME)), None)


def load_class_map(folder: Path, *, cache: Path, source: str) -> ClassMap:
    """Return the map of a folder, from the compact copy when that was made from the same files.

    Args:
        folder: Holds the map and, if possible, the list.
        cache: Where the compact copy is kept; a copy that cannot be written or read is done without.
        source: What the evidence calls it (`ComfyUI-Manager's map installed on this host`).

    Raises:
        Failure: The map cannot be read or is not a map.
    """
    stamp = build_map_stamp(folder)
    kept = _read_cached_map(cache, stamp, source)
    if kept is not None:
        return kept
    fresh = read_class_map(folder, source=source, stamp=stamp)
    with suppress(Failure):
        write_if_changed(cache, msgspec.msgpack.encode(fresh))
    return fresh


def read_class_map(folder: Path, *, source: str, stamp: str = "") -> ClassMap:
    """Read the Manager's map and list.

    Raises:
        Failure: `file-unreadable` (also for a map that is none), `file-not-regular` or `file-too-large`.
    """
    mapped = _read_json(folder / MAP_NAME)
    if not isinstance(mapped, dict):
        raise _invalid_map_failure(folder / MAP_NAME, "is not a map from repositories to classes")
    listed = _read_package_list(folder)
    packages: list[PackageRef] = []
    classes: dict[str, list[int]] = {}
    preempted: dict[str, list[int]] = {}
    patterns: list[tuple[str, int]] = []
    for url, entry in mapped.items():
        names, facts = _parse_map_entry(entry)
        about = {**facts, **listed.get(_normalize_repository_url(url), {})}
        place = len(packages)
        packages.append(_build_package(url, about))
        for name in names:
            classes.setdefault(name, []).append(place)
        for name in _filter_strings(about.get("preemptions")):
            preempted.setdefault(name, []).append(place)
        pattern = about.get("nodename_pattern")
        if isinstance(pattern, str) and _is_safe_pattern(pattern):
            patterns.append((pattern, place))
    return ClassMap(
        source=source,
        stamp=stamp,
        packages=tuple(packages),
        classes={name: tuple(places) for name, places in classes.items()},
        preempted={name: places[0] for name, places in preempted.items() if len(places) == 1},
        patterns=tuple(patterns),
    )


def _read_cached_map(cache: Path, stamp: str, source: str) -> ClassMap | None:
    try:
        kept = msgspec.msgpack.decode(read_regular(cache, max_bytes=MAX_MAP_BYTES), type=ClassMap)
    except (Failure, msgspec.DecodeError):
        return None
    return kept if (kept.stamp, kept.source, kept.format) == (stamp, source, _FORMAT) else None


def build_map_stamp(folder: Path) -> str:
    """Return a text that changes with the files of a folder's map."""
    parts = [str(folder)]
    for name in (MAP_NAME, LIST_NAME):
        try:
            found = (folder / name).stat()
        except OSError:
            parts.append("-")
        else:
            parts.append(f"{found.st_size}:{found.st_mtime_ns}")
    return "|".join(parts)


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(read_regular(path, max_bytes=MAX_MAP_BYTES))
    except orjson.JSONDecodeError as error:
        raise _invalid_map_failure(path, f"is not JSON: {error}") from error


def _invalid_map_failure(path: Path, reason: str) -> Failure:
    hint = f"Let [nodes] class_map name ComfyUI-Manager's {MAP_NAME}, or leave it empty."
    return Failure("file-unreadable", f"{printable_path(path)} {reason}.", hint=hint)


def _read_package_list(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Return what the list says of each repository; nothing when there is no readable list."""
    try:
        content = _read_json(folder / LIST_NAME)
    except Failure:
        return {}
    entries = content.get("custom_nodes") if isinstance(content, dict) else None
    found: dict[str, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            for url in (*_filter_strings(entry.get("files")), *_filter_strings([entry.get("reference")])):
                found.setdefault(_normalize_repository_url(url), entry)
    return found


def _parse_map_entry(entry: Any) -> tuple[list[str], dict[str, Any]]:
    if not isinstance(entry, list) or not entry:
        return [], {}
    facts = entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {}
    return _filter_strings(entry[0]), facts


def _build_package(url: str, about: Mapping[str, Any]) -> PackageRef:
    title = about.get("title_aux") or about.get("title")
    registry_id = about.get("id")
    name = _normalize_repository_url(url).rpartition("/")[2]
    return PackageRef(
        id=registry_id if isinstance(registry_id, str) and registry_id else name,
        url=url,
        title=title if isinstance(title, str) else None,
    )


def _filter_strings(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _normalize_repository_url(url: str) -> str:
    return url.strip().removesuffix("/").removesuffix(".git").lower()


def _is_safe_pattern(pattern: str) -> bool:
    """Say whether a pattern compiles and cannot take more than quadratic time: nothing repeated is repeated again."""
    if len(pattern) > _MAX_PATTERN_LENGTH or _REPEATED_GROUP.search(pattern) or len(re.findall(r"[*+{]", pattern)) > 2:  # noqa: PLR2004
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
