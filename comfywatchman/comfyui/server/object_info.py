"""What a running ComfyUI says of its nodes: its answer to `/object_info`, held against the model files it lists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS, NO_FILE_CHOICES, FileInput
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES
from comfywatchman.comfyui.server.validation import NO_RULES, ValidationRules, read_rules
from comfywatchman.comfyui.static_analysis.widgets import get_upload_kind, widget_width

_COMBOS: Final = frozenset({"COMBO", "COMBO_MULTI"})


class LiveNodes(msgspec.Struct, frozen=True):
    """The nodes of a running ComfyUI; may be kept with its version and packs as the key.

    Attributes:
        packs: Every class with the module it comes from (`nodes`, `comfy_extras.…`, `custom_nodes.<folder>`).
        loader_inputs: Inputs whose choices are the files of a model folder.
        combos: Choices of text by class and input, as the server lists them at this moment; without the lists of
            the input folder, which change with every upload.
        file_inputs: Inputs that take a file of the input folder.
        rules: What it refuses in a prompt.
    """

    packs: dict[str, str]
    loader_inputs: tuple[LoaderInput, ...]
    combos: dict[str, dict[str, tuple[str, ...]]]
    file_inputs: tuple[FileInput, ...] = ()
    rules: ValidationRules = NO_RULES

    @property
    def classes(self) -> frozenset[str]:
        """Return every class that the server lists."""
        return frozenset(self.packs)


def read_object_info(payload: object, folders: Mapping[str, Collection[str]], *, version: str | None) -> LiveNodes:
    """Read an answer to `/object_info`; entries of an unknown shape are passed over, their classes still count.

    Args:
        payload: The parsed answer.
        folders: File names by canonical model folder, as the server lists them; a combo is tied to a folder only
            when its choices hold all of them and no other file.
        version: The server's version, for the evidence.
    """
    entries = payload if isinstance(payload, dict) else {}
    evidence = f"the running ComfyUI {version or 'of unknown version'}"
    listings = _find_distinct_listings(folders)
    combos: dict[str, dict[str, tuple[str, ...]]] = {}
    found: list[LoaderInput] = []
    files: list[FileInput] = []
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for class_type, entry in entries.items():
        place: int | None = 0
        for name, kind, choices, options in _list_inputs(entry):
            upload = get_upload_kind(options) if kind == "COMBO" else None
            if upload is not None:
                files.append(FileInput(class_type, name, upload, place, _list_non_files(choices or ())))
            elif choices is not None and not BUILTIN_FILE_INPUTS.has_input(class_type, name):
                names = shared.setdefault(choices, choices)
                combos.setdefault(class_type, {})[name] = names
                tied = _match_folders(names, listings)
                if tied is not None:
                    folder, also, plain = tied
                    found.append(LoaderInput(class_type, name, folder, place, evidence, "high", also, not_files=plain))
            width = widget_width(name, kind, options)
            place = None if place is None or width is None else place + width
    packs = {name: _get_module(entry) for name, entry in entries.items()}
    return LiveNodes(packs, tuple(found), combos, tuple(files), read_rules(entries, version))


def find_widget_indexes(payload: object, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, int]]:
    """Return the places of inputs in the editor's `widgets_values`, by class and input; those that are not known lack.

    Args:
        payload: The parsed answer to `/object_info`.
        wanted: Input names by class.
    """
    entries = payload if isinstance(payload, dict) else {}
    found: dict[str, dict[str, int]] = {}
    for class_type, names in wanted.items():
        place: int | None = 0
        for name, kind, _choices, options in _list_inputs(entries.get(class_type)):
            if place is None:
                break
            if name in names:
                found.setdefault(class_type, {})[name] = place
            width = widget_width(name, kind, options)
            place = None if width is None else place + width
    return found


def _find_distinct_listings(folders: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """Return the folders that can be told apart: not empty, and no other holds the very same names."""
    names = {folder: frozenset(files) for folder, files in folders.items() if files}
    counts: dict[frozenset[str], int] = {}
    for files in names.values():
        counts[files] = counts.get(files, 0) + 1
    return {folder: files for folder, files in names.items() if counts[files] == 1}


def _list_inputs(entry: Any) -> Iterator[tuple[str, str, tuple[str, ...] | None, Mapping[str, Any]]]:
    """Yield name, type, choices (None: not listed here) and options of each input, in the editor's order."""
    groups = entry.get("input") if isinstance(entry, dict) else None
    order = entry.get("input_order") if isinstance(entry, dict) else None
    for group in ("required", "optional"):
        inputs = groups.get(group) if isinstance(groups, dict) else None
        if not isinstance(inputs, dict):
            continue
        names = order.get(group) if isinstance(order, dict) else None
        for name in names if isinstance(names, list) else inputs:
            if isinstance(name, str) and name in inputs:
                yield (name, *_parse_spec(inputs[name]))


def _parse_spec(spec: Any) -> tuple[str, tuple[str, ...] | None, Mapping[str, Any]]:
    """Return type, choices and options of one input of either shape: `[[…], {…}]` or `["COMBO", {"options": […]}]`."""
    if not isinstance(spec, list) or not spec:
        return "COMFY_UNKNOWN", None, {}
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    kind = spec[0]
    if isinstance(kind, list):
        return "COMBO", _parse_choices(kind, options), options
    if not isinstance(kind, str):
        return "COMFY_UNKNOWN", None, options
    return kind, _parse_choices(options.get("options"), options) if kind in _COMBOS else None, options


def _parse_choices(choices: Any, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the choices of text; None for choices of another kind, or that the editor fetches from elsewhere."""
    if not isinstance(choices, list):
        return None
    texts = tuple(choice for choice in choices if isinstance(choice, str))
    is_known = texts or (not choices and "remote" not in options)
    return texts if is_known else None


def _match_folders(
    choices: tuple[str, ...], listings: Mapping[str, frozenset[str]]
) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """Return the folder whose files are the choices, further such folders, and the choices that are no files."""
    offered = frozenset(choices)
    held = {folder: files for folder, files in listings.items() if files <= offered}
    widest = sorted(folder for folder, files in held.items() if not any(files < other for other in held.values()))
    if not widest:
        return None
    others = offered.difference(*(held[folder] for folder in widest))
    if any(PurePosixPath(other).suffix.lower() in MODEL_SUFFIXES for other in others):
        return None
    # The server refuses whatever it does not list, so no word that other nodes offer is let through here.
    plain = tuple(dict.fromkeys(choice for choice in choices if choice in others))
    return widest[0], tuple(widest[1:]), plain


def _list_non_files(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return the choices that are no names of pictures, sounds or videos."""
    return (*NO_FILE_CHOICES, *(choice for choice in choices if "." not in choice and choice not in NO_FILE_CHOICES))


def _get_module(entry: Any) -> str:
    module = entry.get("python_module") if isinstance(entry, dict) else None
    return module if isinstance(module, str) else ""
