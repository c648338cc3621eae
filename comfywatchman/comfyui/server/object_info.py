"""Read the answer of a running ComfyUI to `/object_info`, and match its combos with the model files it lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec

from comfywatchman.base.json_values import as_mapping, as_text
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS, NO_FILE_CHOICES, FileInput
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES
from comfywatchman.comfyui.server.node_inputs import NodeInput, list_node_inputs
from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.static_analysis.widgets import get_upload_kind, widget_width
from comfywatchman.comfyui.validation.signature import NodeSignature


class LiveNodes(msgspec.Struct, frozen=True):
    """The nodes of a running ComfyUI; may be cached with its version and packs as the key.

    Attributes:
        packs: Every class with its module (`nodes`, `comfy_extras.…`, `custom_nodes.<folder>`).
        loader_inputs: Inputs whose choices are the files of a model folder.
        combos: Text choices by class and input, as the server lists them at this moment; without the lists of
            the input folder, which change with every upload.
        file_inputs: Inputs that take a file of the input folder.
        signatures: What the server checks of each class; `own_checks` is not known.
    """

    packs: dict[str, str]
    loader_inputs: tuple[LoaderInput, ...]
    combos: dict[str, dict[str, tuple[str, ...]]]
    file_inputs: tuple[FileInput, ...] = ()
    signatures: dict[str, NodeSignature] = {}

    @property
    def classes(self) -> frozenset[str]:
        """Every class that the server lists."""
        return frozenset(self.packs)


@dataclass(frozen=True, slots=True)
class _FolderMatch:
    """Folders whose files are the choices of a combo, and the choices that are not files."""

    folder: str
    also_folders: tuple[str, ...]
    not_files: tuple[str, ...]

    def build_input(self, class_type: str, name: str, widget_index: int | None, *, evidence: str) -> LoaderInput:
        """Return the loader input for a combo with this match."""
        return LoaderInput(
            class_type=class_type,
            name=name,
            folder=self.folder,
            widget_index=widget_index,
            evidence=evidence,
            confidence="high",
            also_folders=self.also_folders,
            not_files=self.not_files,
        )


def read_object_info(payload: object, folders: Mapping[str, Collection[str]], *, version: str | None) -> LiveNodes:
    """Read an answer to `/object_info`. Inputs of an unknown shape are skipped; their classes still count.

    Args:
        payload: The parsed answer.
        folders: File names by canonical model folder, as the server lists them. A combo is matched with a folder only
            if its choices hold all of its files and no other file.
        version: The server's version, for the evidence.
    """
    entries = as_mapping(payload)
    evidence = f"the running ComfyUI {version or 'of unknown version'}"
    listings = _find_distinct_listings(folders)
    combos: dict[str, dict[str, tuple[str, ...]]] = {}
    loader_inputs: list[LoaderInput] = []
    file_inputs: list[FileInput] = []
    # Hundreds of inputs list the same files; each list of choices is held once.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for class_type, entry in entries.items():
        for node_input, index in _number_inputs(entry):
            name, choices = node_input.name, _parse_choices(node_input)
            upload = get_upload_kind(node_input.options)
            if upload is not None and node_input.type == "COMBO":
                file_inputs.append(FileInput(class_type, name, upload, index, _list_non_files(choices or ())))
                continue
            if choices is None or BUILTIN_FILE_INPUTS.has_input(class_type, name):
                continue
            choices = shared.setdefault(choices, choices)
            combos.setdefault(class_type, {})[name] = choices
            match = _match_folders(choices, listings)
            if match is not None:
                loader_inputs.append(match.build_input(class_type, name, index, evidence=evidence))
    packs = {class_type: _get_module(entry) for class_type, entry in entries.items()}
    return LiveNodes(packs, tuple(loader_inputs), combos, tuple(file_inputs), read_signatures(entries))


def find_malformed_entry(payload: object) -> str | None:
    """Return the first class of an answer to `/object_info` whose entry ComfyUI cannot have sent; None without one."""
    for class_type, entry in as_mapping(payload).items():
        if not isinstance(entry, dict) or "input" not in entry:
            return class_type
    return None


def find_widget_indexes(payload: object, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, int]]:
    """Return indexes in the editor's `widgets_values`, by class and input; unknown ones are missing.

    Args:
        payload: The parsed answer to `/object_info`.
        wanted: Input names by class.
    """
    entries = as_mapping(payload)
    indexes: dict[str, dict[str, int]] = {}
    for class_type, names in wanted.items():
        for node_input, index in _number_inputs(entries.get(class_type)):
            if index is not None and node_input.name in names:
                indexes.setdefault(class_type, {})[node_input.name] = index
    return indexes


def _number_inputs(entry: object) -> Iterator[tuple[NodeInput, int | None]]:
    """Yield each input with its widget index; None behind an input that takes an unknown number of values."""
    index: int | None = 0
    for node_input in list_node_inputs(entry):
        yield node_input, index
        width = widget_width(node_input.name, node_input.type, node_input.options)
        index = None if index is None or width is None else index + width


def _find_distinct_listings(folders: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """Return the folders that can be told apart: not empty, and no other holds exactly the same names."""
    listings: dict[str, frozenset[str]] = {}
    counts: dict[frozenset[str], int] = {}
    for folder, files in folders.items():
        listing = frozenset(files)
        if listing:
            listings[folder] = listing
            counts[listing] = counts.get(listing, 0) + 1
    return {folder: listing for folder, listing in listings.items() if counts[listing] == 1}


def _parse_choices(node_input: NodeInput) -> tuple[str, ...] | None:
    """Return the text choices; None for choices of another kind, or that the editor fetches from elsewhere."""
    choices = node_input.choices
    if not isinstance(choices, list):
        return None
    texts = tuple(choice for choice in choices if isinstance(choice, str))
    if texts:
        return texts
    if not choices and "remote" not in node_input.options:
        return ()
    return None


def _match_folders(choices: tuple[str, ...], listings: Mapping[str, frozenset[str]]) -> _FolderMatch | None:
    """Return the folders whose files a combo lists; None when it lists none, or further model files."""
    offered = frozenset(choices)
    contained = {folder: files for folder, files in listings.items() if files <= offered}
    folders: list[str] = []
    for folder, files in sorted(contained.items()):
        # A folder that is part of a larger one would match by chance.
        if not any(files < other for other in contained.values()):
            folders.append(folder)
    if not folders:
        return None
    others = offered.difference(*(contained[folder] for folder in folders))
    if any(PurePosixPath(other).suffix.lower() in MODEL_SUFFIXES for other in others):
        return None
    # The server refuses every value that it does not list, so general words such as "None" are not added here.
    not_files = tuple(dict.fromkeys(choice for choice in choices if choice in others))
    return _FolderMatch(folders[0], tuple(folders[1:]), not_files)


def _list_non_files(choices: Iterable[str]) -> tuple[str, ...]:
    """Return the choices that are not names of pictures, sounds or videos."""
    words = [choice for choice in choices if "." not in choice and choice not in NO_FILE_CHOICES]
    return (*NO_FILE_CHOICES, *words)


def _get_module(entry: object) -> str:
    return as_text(as_mapping(entry).get("python_module")) or ""
