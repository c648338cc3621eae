"""Local catalogues of model addresses: the official workflow templates and ComfyUI-Manager's list, where installed.

No key, no network and no guess: an entry says under which name a file is kept and where it comes from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, write_if_changed
from comfywatchman.sources.file_names import base_name

TEMPLATE_PACKAGES: Final = ("comfyui_workflow_templates_json", "comfyui_workflow_templates")
MODEL_LIST: Final = "model-list.json"

_FORMAT: Final = 1
_MAX_FILE_BYTES: Final = 32 << 20
_MAX_CACHE_BYTES: Final = 64 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TEMPLATES: Final = "ComfyUI's workflow templates"
_MANAGER: Final = "ComfyUI-Manager's model list"


class CatalogueEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that a catalogue knows.

    Attributes:
        name: Under which it is kept; the address may call it otherwise.
        url: Where it comes from; not checked.
        catalogue: Who says so.
        directory: The model folder that the catalogue names, as it writes it; null when it names none.
        sha256: Lower-case hex; null when it gives none.
        base_model: The family, where it is told.
    """

    name: str
    url: str
    catalogue: str
    directory: str | None = None
    sha256: str | None = None
    base_model: str | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """All catalogues of this host together, compact.

    Attributes:
        stamp: Changes with the files it was made from.
        entries: By lower-case name, the templates' first.
        problems: Files that could not be read, in words.
        format: Version of this form.
    """

    stamp: str
    entries: dict[str, tuple[CatalogueEntry, ...]]
    problems: tuple[str, ...] = ()
    format: int = _FORMAT

    def named(self, names: Iterable[str]) -> tuple[CatalogueEntry, ...]:
        """Return what is kept under one of these names, upper and lower case aside."""
        return tuple(entry for name in dict.fromkeys(map(str.lower, names)) for entry in self.entries.get(name, ()))


def find_template_folders(site_packages: Iterable[Path]) -> tuple[Path, ...]:
    """Return the folders with official workflow templates below the package folders of a Python environment."""
    places = (folder / package / "templates" for folder in site_packages for package in TEMPLATE_PACKAGES)
    return tuple(place for place in places if os.path.isdir(place))


def find_model_list(folders: Iterable[Path]) -> Path | None:
    """Return the Manager's list from the first of the folders where it may be installed."""
    return next((folder / MODEL_LIST for folder in folders if os.path.isfile(folder / MODEL_LIST)), None)


def load_catalogue(templates: Sequence[Path], model_list: Path | None, *, cache: Path) -> Catalogue:
    """Return the catalogues, from the compact copy when that was made from the same files.

    Args:
        templates: Folders with workflow templates.
        model_list: The Manager's list.
        cache: Where the compact copy is kept; one that cannot be written or read is done without.
    """
    stamp = build_catalogue_stamp(templates, model_list)
    kept = _read_cached_catalogue(cache)
    if kept is not None and (kept.stamp, kept.format) == (stamp, _FORMAT):
        return kept
    fresh = read_catalogue(templates, model_list, stamp=stamp)
    with suppress(Failure):
        write_if_changed(cache, msgspec.msgpack.encode(fresh))
    return fresh


def read_catalogue(templates: Sequence[Path], model_list: Path | None, *, stamp: str = "") -> Catalogue:
    """Read the catalogues; a damaged file is told of and hides no other."""
    problems: list[str] = []
    found: list[CatalogueEntry] = []
    for path in (path for folder in templates for path in _list_template_files(folder)):
        found.extend(_find_template_entries(_load_json(path, problems)))
    if model_list is not None:
        found.extend(_parse_manager_list(_load_json(model_list, problems)))
    entries: dict[str, dict[CatalogueEntry, None]] = {}
    for entry in found:
        entries.setdefault(entry.name.lower(), {})[entry] = None
    return Catalogue(stamp, {name: tuple(same) for name, same in entries.items()}, tuple(problems))


def build_catalogue_stamp(templates: Sequence[Path], model_list: Path | None) -> str:
    """Return a text that changes with the files of the catalogues."""
    parts: list[str] = []
    for folder in templates:
        stats = [path.stat() for path in _list_template_files(folder)]
        newest = max((one.st_mtime_ns for one in stats), default=0)
        parts.append(f"{folder}:{len(stats)}:{sum(one.st_size for one in stats)}:{newest}")
    if model_list is not None:
        try:
            found = model_list.stat()
        except OSError:
            parts.append(f"{model_list}:-")
        else:
            parts.append(f"{model_list}:{found.st_size}:{found.st_mtime_ns}")
    return "|".join(parts)


def _read_cached_catalogue(cache: Path) -> Catalogue | None:
    try:
        return msgspec.msgpack.decode(read_regular(cache, max_bytes=_MAX_CACHE_BYTES), type=Catalogue)
    except (Failure, msgspec.DecodeError):
        return None


def _list_template_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as listed:
            names = sorted(entry.name for entry in listed if entry.name.endswith(".json") and entry.is_file())
    except OSError:
        return []
    return [folder / name for name in names]


def _load_json(path: Path, problems: list[str]) -> Any:
    try:
        return orjson.loads(read_regular(path, max_bytes=_MAX_FILE_BYTES))
    except Failure as failure:
        problems.append(failure.message)
    except orjson.JSONDecodeError:
        problems.append(f"{printable_path(path)} is not JSON.")
    return None


def _find_template_entries(content: Any) -> Iterator[CatalogueEntry]:
    """Give every entry of a `models` list, wherever the template keeps one."""
    open_values = [content]
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            listed = value.get("models")
            for model in listed if isinstance(listed, list) else ():
                yield from _parse_template_entry(model)
            open_values.extend(value.values())
        elif isinstance(value, list):
            open_values.extend(value)


def _parse_template_entry(model: Any) -> Iterator[CatalogueEntry]:
    if not isinstance(model, dict) or not _get_text(model, "name") or not _is_http_url(model.get("url")):
        return
    digest = (_get_text(model, "hash") or "").lower()
    known = (_get_text(model, "hash_type") or "").lower() == "sha256" and _SHA256.fullmatch(digest)
    yield CatalogueEntry(
        name=base_name(model["name"]),
        url=model["url"],
        catalogue=_TEMPLATES,
        directory=_get_text(model, "directory"),
        sha256=digest if known else None,
    )


def _parse_manager_list(content: Any) -> Iterator[CatalogueEntry]:
    listed = content.get("models") if isinstance(content, dict) else None
    for model in listed if isinstance(listed, list) else ():
        if isinstance(model, dict) and _get_text(model, "filename") and _is_http_url(model.get("url")):
            folder = (_get_text(model, "save_path") or "").partition("/")[0]
            yield CatalogueEntry(
                name=base_name(model["filename"]),
                url=model["url"],
                catalogue=_MANAGER,
                directory=folder if folder not in {"", "default"} else None,
                base_model=_get_text(model, "base"),
            )


def _is_http_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def _get_text(mapping: dict[str, Any], name: str) -> str | None:
    value = mapping.get(name)
    return value if isinstance(value, str) and value else None
