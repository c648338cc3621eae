"""Node packages by node class: ComfyUI-Manager's map, as installed on this host or downloaded before."""

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
from comfywatchman.base.json_values import as_list, as_mapping, as_text

MAP_NAME: Final = "extension-node-map.json"
LIST_NAME: Final = "custom-node-list.json"
MAX_MAP_BYTES: Final = 64 << 20

_FORMAT: Final = 1
_MAX_CLASS_LENGTH: Final = 200
_MAX_PATTERN_LENGTH: Final = 200
_MAX_REPETITIONS: Final = 2
_REPETITION: Final = re.compile(r"[*+{]")
# A repetition of something that contains a repetition, a back reference, or a group with special meaning. The patterns
# come from the authors of packages, and such a pattern can take exponential time (ReDoS).
_REPEATED_GROUP: Final = re.compile(r"[*+}]\)*[)\]][*+{]|\)[*+{]|\\\d|\(\?")


class PackageRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node package that is listed as the provider of a class.

    Attributes:
        id: Comfy Registry id; the repository's name when it has none.
        url: Its repository.
        title: Its display name.
        evidence: Where it is listed, for people.
    """

    id: str
    url: str | None = None
    title: str | None = None
    evidence: str = ""


class ClassMap(msgspec.Struct, frozen=True):
    """The Manager's map in a compact form.

    Attributes:
        source: Name of the map for people.
        stamp: Changes whenever one of the source files changes.
        packages: Every package that provides a class.
        classes: Indexes into `packages` by class.
        preempted: Index of the package that the map's maintainers prefer for a class which several provide.
        patterns: Regular expressions over class names, each with the index of its package.
        format: Version of this format.
    """

    source: str
    stamp: str
    packages: tuple[PackageRef, ...]
    classes: dict[str, tuple[int, ...]]
    preempted: dict[str, int]
    patterns: tuple[tuple[str, int], ...]
    format: int = _FORMAT

    def find_providers(self, class_type: str) -> tuple[PackageRef, ...]:
        """Return the packages that provide a class; several when the map lists several, none when it lists none.

        A preferred package is returned alone. Name patterns count only when the class itself is not listed.
        """
        preferred = self.preempted.get(class_type)
        if preferred is not None:
            return (self._get_package(preferred, "preferred in"),)
        listed = self.classes.get(class_type, ())
        if listed:
            return tuple(self._get_package(index, "listed in") for index in listed)
        if len(class_type) > _MAX_CLASS_LENGTH:
            return ()
        matches: dict[int, PackageRef] = {}
        for pattern, index in self.patterns:
            if re.search(pattern, class_type):
                matches[index] = self._get_package(index, "by the pattern of its names in")
        return tuple(matches.values())

    def _get_package(self, index: int, relation: str) -> PackageRef:
        return msgspec.structs.replace(self.packages[index], evidence=f"{relation} {self.source}")


def find_manager_map_folder(folders: Iterable[Path]) -> Path | None:
    """Return the first folder that holds the Manager's map.

    Args:
        folders: Where the Manager may be installed: `custom_nodes/ComfyUI-Manager`, and the folder
            `comfyui_manager` of the server's site-packages.
    """
    for folder in folders:
        if os.path.isfile(folder / MAP_NAME):
            return folder
    return None


def load_class_map(folder: Path, *, cache: Path, source: str) -> ClassMap:
    """Return the map of a folder, from the cache file while it matches the source files.

    Args:
        folder: Holds the map and, if possible, the list of packages.
        cache: The cache file; failures to read or write it are ignored.
        source: Name of the map for people (`ComfyUI-Manager's map installed on this host`).

    Raises:
        Failure: The map cannot be read or is not a map.
    """
    stamp = build_map_stamp(folder)
    cached = _read_cached_map(cache, stamp, source)
    if cached is not None:
        return cached
    class_map = read_class_map(folder, source=source, stamp=stamp)
    with suppress(Failure):
        write_if_changed(cache, msgspec.msgpack.encode(class_map))
    return class_map


def read_class_map(folder: Path, *, source: str, stamp: str = "") -> ClassMap:
    """Read the Manager's map and its list of packages.

    Raises:
        Failure: `file-unreadable` (also for a file of another form), `file-not-regular` or `file-too-large`.
    """
    content = _read_json(folder / MAP_NAME)
    if not isinstance(content, dict):
        raise _invalid_map_failure(folder / MAP_NAME, "is not a map from repositories to classes")
    listed_packages = _read_package_list(folder)
    packages: list[PackageRef] = []
    classes: dict[str, list[int]] = {}
    preempted: dict[str, list[int]] = {}
    patterns: list[tuple[str, int]] = []
    for url, entry in content.items():
        names, metadata = _parse_map_entry(entry)
        # The list has the registry id, which the map itself lacks.
        metadata = {**metadata, **listed_packages.get(_normalize_repository_url(url), {})}
        index = len(packages)
        packages.append(_build_package(url, metadata))
        for name in names:
            classes.setdefault(name, []).append(index)
        for name in _filter_strings(metadata.get("preemptions")):
            preempted.setdefault(name, []).append(index)
        pattern = metadata.get("nodename_pattern")
        if isinstance(pattern, str) and _is_safe_pattern(pattern):
            patterns.append((pattern, index))
    return ClassMap(
        source=source,
        stamp=stamp,
        packages=tuple(packages),
        classes={name: tuple(indexes) for name, indexes in classes.items()},
        # Two packages that both claim to be preferred leave the class undecided.
        preempted={name: indexes[0] for name, indexes in preempted.items() if len(indexes) == 1},
        patterns=tuple(patterns),
    )


def _read_cached_map(cache: Path, stamp: str, source: str) -> ClassMap | None:
    try:
        cached = msgspec.msgpack.decode(read_regular(cache, max_bytes=MAX_MAP_BYTES), type=ClassMap)
    except (Failure, msgspec.DecodeError):
        return None
    # The source is part of every package's evidence.
    is_current = cached.stamp == stamp and cached.source == source and cached.format == _FORMAT
    return cached if is_current else None


def build_map_stamp(folder: Path) -> str:
    """Return a text that changes whenever the map or the list of a folder changes."""
    parts = [str(folder)]
    for name in (MAP_NAME, LIST_NAME):
        try:
            status = (folder / name).stat()
        except OSError:
            parts.append("-")
        else:
            parts.append(f"{status.st_size}:{status.st_mtime_ns}")
    return "|".join(parts)


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(read_regular(path, max_bytes=MAX_MAP_BYTES))
    except orjson.JSONDecodeError as error:
        raise _invalid_map_failure(path, f"is not JSON: {error}") from error


def _invalid_map_failure(path: Path, reason: str) -> Failure:
    hint = f"Set [nodes] class_map to ComfyUI-Manager's {MAP_NAME}, or leave it empty."
    return Failure("file-unreadable", f"{printable_path(path)} {reason}.", hint=hint)


def _read_package_list(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Return the list's metadata by repository URL; empty when there is no readable list."""
    try:
        content = _read_json(folder / LIST_NAME)
    except Failure:
        return {}
    by_url: dict[str, dict[str, Any]] = {}
    for entry in as_list(as_mapping(content).get("custom_nodes")):
        if not isinstance(entry, dict):
            continue
        urls = _filter_strings(entry.get("files")) + _filter_strings([entry.get("reference")])
        for url in urls:
            by_url.setdefault(_normalize_repository_url(url), entry)
    return by_url


def _parse_map_entry(entry: Any) -> tuple[list[str], Mapping[str, object]]:
    """Return the class names of an entry (`[[names], {metadata}]`) and its metadata."""
    if not isinstance(entry, list) or not entry:
        return [], {}
    metadata = as_mapping(entry[1]) if len(entry) > 1 else {}
    return _filter_strings(entry[0]), metadata


def _build_package(url: str, metadata: Mapping[str, Any]) -> PackageRef:
    repository_name = _normalize_repository_url(url).rpartition("/")[2]
    return PackageRef(
        id=as_text(metadata.get("id")) or repository_name,
        url=url,
        title=as_text(metadata.get("title_aux")) or as_text(metadata.get("title")),
    )


def _filter_strings(value: Any) -> list[str]:
    return [entry for entry in as_list(value) if isinstance(entry, str)]


def _normalize_repository_url(url: str) -> str:
    return url.strip().removesuffix("/").removesuffix(".git").lower()


def _is_safe_pattern(pattern: str) -> bool:
    """Return whether a pattern compiles and takes quadratic time at most: no repetition inside a repetition."""
    if len(pattern) > _MAX_PATTERN_LENGTH or _REPEATED_GROUP.search(pattern):
        return False
    if len(_REPETITION.findall(pattern)) > _MAX_REPETITIONS:
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
