"""Local catalogues of model URLs: ComfyUI's workflow templates and ComfyUI-Manager's model list, where installed.

They need no key and no network, and an entry is exact: the file name to store under, and where to download it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, write_if_changed
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.sources.file_names import base_name
from comfywatchman.sources.identifiers import parse_sha256

TEMPLATE_PACKAGES: Final = ("comfyui_workflow_templates_json", "comfyui_workflow_templates")
MODEL_LIST: Final = "model-list.json"

_FORMAT: Final = 1
_MAX_FILE_BYTES: Final = 32 << 20
_MAX_CACHE_BYTES: Final = 64 << 20
_TEMPLATES: Final = "ComfyUI's workflow templates"
_MANAGER: Final = "ComfyUI-Manager's model list"


class CatalogueEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model file in a catalogue.

    Attributes:
        name: File name to store it under; the URL may end with another one.
        url: Where to download it; not validated.
        catalogue: Name of the catalogue.
        directory: Model folder as the catalogue writes it; null when it names none.
        sha256: Lower-case hex; null when unknown.
        base_model: Model family; null when unknown.
    """

    name: str
    url: str
    catalogue: str
    directory: str | None = None
    sha256: str | None = None
    base_model: str | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """All catalogues of this host in one compact index.

    Attributes:
        stamp: Changes whenever one of the source files changes.
        entries: Entries by lower-case name, those of the templates first.
        problems: Messages about files that could not be read.
        format: Version of this format.
    """

    stamp: str
    entries: dict[str, tuple[CatalogueEntry, ...]]
    problems: tuple[str, ...] = ()
    format: int = _FORMAT

    def find_by_name(self, names: Iterable[str]) -> tuple[CatalogueEntry, ...]:
        """Return the entries with any of these names, ignoring case."""
        matches: list[CatalogueEntry] = []
        for name in dict.fromkeys(name.lower() for name in names):
            matches.extend(self.entries.get(name, ()))
        return tuple(matches)


def find_template_folders(site_packages: Iterable[Path]) -> tuple[Path, ...]:
    """Return the folders with workflow templates below the `site-packages` folders of a Python environment."""
    folders: list[Path] = []
    for site_folder in site_packages:
        for package in TEMPLATE_PACKAGES:
            templates = site_folder / package / "templates"
            if os.path.isdir(templates):
                folders.append(templates)
    return tuple(folders)


def find_model_list(folders: Iterable[Path]) -> Path | None:
    """Return the Manager's model list from the first folder that has one."""
    for folder in folders:
        if os.path.isfile(folder / MODEL_LIST):
            return folder / MODEL_LIST
    return None


def load_catalogue(templates: Sequence[Path], model_list: Path | None, *, cache: Path) -> Catalogue:
    """Return the catalogues, from the cache file while it matches the source files.

    Args:
        templates: Folders with workflow templates.
        model_list: The Manager's model list.
        cache: The cache file; failures to read or write it are ignored.
    """
    stamp = build_catalogue_stamp(templates, model_list)
    cached = _read_cached_catalogue(cache)
    if cached is not None and cached.stamp == stamp and cached.format == _FORMAT:
        return cached
    catalogue = read_catalogue(templates, model_list, stamp=stamp)
    with suppress(Failure):
        write_if_changed(cache, msgspec.msgpack.encode(catalogue))
    return catalogue


def read_catalogue(templates: Sequence[Path], model_list: Path | None, *, stamp: str = "") -> Catalogue:
    """Read the catalogues; an unreadable file becomes one of the `problems`, and the others are still read."""
    problems: list[str] = []
    entries: list[CatalogueEntry] = []
    for folder in templates:
        for path in _list_template_files(folder):
            entries.extend(_find_template_entries(_load_json(path, problems)))
    if model_list is not None:
        entries.extend(_parse_manager_list(_load_json(model_list, problems)))
    # Dictionaries as ordered sets: hundreds of templates declare the same files.
    by_name: dict[str, dict[CatalogueEntry, None]] = {}
    for entry in entries:
        by_name.setdefault(entry.name.lower(), {})[entry] = None
    return Catalogue(stamp, {name: tuple(same_name) for name, same_name in by_name.items()}, tuple(problems))


def build_catalogue_stamp(templates: Sequence[Path], model_list: Path | None) -> str:
    """Return a text that changes whenever one of the source files changes."""
    parts: list[str] = []
    for folder in templates:
        count = total_bytes = newest = 0
        for path in _list_template_files(folder):
            # Hundreds of files: their total is enough to notice an update of the package.
            status = path.stat()
            count += 1
            total_bytes += status.st_size
            newest = max(newest, status.st_mtime_ns)
        parts.append(f"{folder}:{count}:{total_bytes}:{newest}")
    if model_list is not None:
        try:
            status = model_list.stat()
        except OSError:
            parts.append(f"{model_list}:-")
        else:
            parts.append(f"{model_list}:{status.st_size}:{status.st_mtime_ns}")
    return "|".join(parts)


def _read_cached_catalogue(cache: Path) -> Catalogue | None:
    try:
        return msgspec.msgpack.decode(read_regular(cache, max_bytes=_MAX_CACHE_BYTES), type=Catalogue)
    except (Failure, msgspec.DecodeError):
        return None


def _list_template_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json") and entry.is_file())
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
    """Yield the entries of every `models` list in a template, at any depth."""
    # A stack instead of recursion: nodes of subgraphs declare models too, and a file may nest without end.
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for model in as_list(value.get("models")):
                entry = _parse_template_entry(model)
                if entry is not None:
                    yield entry
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _parse_template_entry(model: Any) -> CatalogueEntry | None:
    if not isinstance(model, dict) or not as_text(model.get("name")) or not _is_http_url(model.get("url")):
        return None
    is_sha256 = (as_text(model.get("hash_type")) or "").lower() == "sha256"
    return CatalogueEntry(
        name=base_name(model["name"]),
        url=model["url"],
        catalogue=_TEMPLATES,
        directory=as_text(model.get("directory")),
        sha256=parse_sha256(as_text(model.get("hash"))) if is_sha256 else None,
    )


def _parse_manager_list(content: Any) -> Iterator[CatalogueEntry]:
    for model in as_list(as_mapping(content).get("models")):
        if not isinstance(model, dict) or not as_text(model.get("filename")) or not _is_http_url(model.get("url")):
            continue
        folder = (as_text(model.get("save_path")) or "").partition("/")[0]
        yield CatalogueEntry(
            name=base_name(model["filename"]),
            url=model["url"],
            catalogue=_MANAGER,
            # "default" means that the Manager derives the folder from the model's type.
            directory=None if folder in {"", "default"} else folder,
            base_model=as_text(model.get("base")),
        )


def _is_http_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))
