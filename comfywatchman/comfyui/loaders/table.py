"""The loader table: which inputs of which node classes take a model file, and of which folder."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypedDict

import msgspec
import orjson

from comfywatchman.comfyui.loaders.tiny_vaes import BUILTIN_TINY_VAES, CORE_LOADER, TinyVaes
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS, FileInput, FileInputTable

NOT_FILES: Final = (
    "",
    "None",
    "none",
    "[None]",
    "Baked VAE",
    "ESAM",
    "default",
    "Default",
    "(use same)",
    "Select the LoRA to add to the text",
)
"""Choices beside files in the model lists of custom nodes (measured over 625 community workflows)."""

_Place = str | int
"""The name or the widget index of an input."""

_AUTO_DOWNLOAD_PREFIX: Final = "DownloadAndLoad"
"""Many packs begin the name of a node that downloads its own models with this."""


@dataclass(frozen=True, slots=True)
class LoaderInput:
    """One input of a node class that takes a model name.

    Attributes:
        class_type: Node class.
        name: Input name; empty when `widget_index` counts, whatever the input is called.
            In `loras.N.lora_name`, `N` stands for every number.
        folder: Canonical model folder.
        widget_index: Index in the editor's `widgets_values` list; None when only the name is known.
        evidence: Source of this knowledge, for people (`loader table (ComfyUI 0.33.0)`).
        confidence: `high` for probed or live knowledge, `medium` for static analysis of a pack's source.
        also_folders: Further folders whose files the same input lists.
        not_files: Choices of the input that are not files.
    """

    class_type: str
    name: str
    folder: str
    widget_index: int | None
    evidence: str
    confidence: Literal["high", "medium"]
    also_folders: tuple[str, ...] = ()
    not_files: tuple[str, ...] = NOT_FILES


class LoaderTable:
    """Immutable knowledge about node classes; `merge` returns a new table.

    Args:
        inputs: Model inputs, in the order in which a class lists them.
        widget_names: Names of a class's widgets by index, None where unknown.
        pickers: Names of inputs that only insert a model name into a text.
        presets: Indexes and names of inputs that take a preset instead of a file.
        auto_downloads: Indexes and names of inputs whose files the node downloads itself.
        displays: Classes that show a value; they store the value of their last run.
        file_inputs: Inputs that take a file of the input folder.
        tiny_vaes: Approximations of a VAE that a class offers, by class.
    """

    __slots__ = (
        "_auto_downloads",
        "_displays",
        "_fingerprint",
        "_inputs",
        "_names",
        "_pickers",
        "_presets",
        "_widget_names",
        "file_inputs",
        "tiny_vaes",
    )

    def __init__(
        self,
        inputs: Iterable[LoaderInput],
        *,
        widget_names: Mapping[str, Sequence[str | None]] | None = None,
        pickers: Mapping[str, Iterable[_Place]] | None = None,
        presets: Mapping[str, Iterable[_Place]] | None = None,
        auto_downloads: Mapping[str, Iterable[_Place]] | None = None,
        displays: Iterable[str] = (),
        file_inputs: FileInputTable = BUILTIN_FILE_INPUTS,
        tiny_vaes: Mapping[str, TinyVaes] = BUILTIN_TINY_VAES,
    ) -> None:
        self._inputs = _group_by_class(inputs)
        self._widget_names = {class_type: tuple(names) for class_type, names in (widget_names or {}).items()}
        self._pickers = _freeze(pickers)
        self._presets = _freeze(presets)
        self._auto_downloads = _freeze(auto_downloads)
        self._displays = frozenset(displays)
        self.file_inputs = file_inputs
        self.tiny_vaes = tiny_vaes
        self._names: dict[str, tuple[str | None, ...]] = {}
        self._fingerprint: str | None = None

    def inputs(self, class_type: str) -> tuple[LoaderInput, ...]:
        """Return the model inputs of a class; empty for an unknown class."""
        return self._inputs.get(class_type, ())

    def widget_names(self, class_type: str) -> tuple[str | None, ...]:
        """Return the names of a class's widgets by index, None where unknown; empty when nothing is known."""
        names = self._names.get(class_type)
        if names is None:
            names = self._names[class_type] = self._collect_widget_names(class_type)
        return names

    def has_all_widget_names(self, class_type: str) -> bool:
        """Return whether the names of all widgets of a class are known, in order."""
        return class_type in self._widget_names and None not in self._widget_names[class_type]

    def is_picker(self, class_type: str, name: str) -> bool:
        """Return whether an input only inserts a model name into a text."""
        return name in self._pickers.get(class_type, ())

    def is_preset(self, class_type: str, place: int | str) -> bool:
        """Return whether an input, given by name or widget index, takes a preset instead of a file."""
        return place in self._presets.get(class_type, ())

    def auto_downloads(self, class_type: str, place: int | str) -> bool:
        """Return whether the node itself downloads the files of this input, given by name or widget index."""
        return class_type.startswith(_AUTO_DOWNLOAD_PREFIX) or place in self._auto_downloads.get(class_type, ())

    def is_display(self, class_type: str) -> bool:
        """Return whether a class only shows a value; the stored one is that of an earlier run."""
        return class_type in self._displays

    def is_plain(self, class_type: str) -> bool:
        """Return whether a class has no pickers, presets or self-downloaded inputs."""
        if class_type.startswith(_AUTO_DOWNLOAD_PREFIX):
            return False
        exceptions = (self._pickers, self._presets, self._auto_downloads)
        return not any(class_type in classes for classes in exceptions)

    def merge(
        self,
        inputs: Iterable[LoaderInput],
        *,
        widget_names: Mapping[str, Sequence[str | None]] | None = None,
        override: bool = False,
        file_inputs: Iterable[FileInput] = (),
        tiny_vaes: TinyVaes | None = None,
    ) -> LoaderTable:
        """Return a table that also holds new knowledge.

        Args:
            inputs: Inputs that this table lacks; one that it has already keeps its folder.
            widget_names: Names by index, for classes of which this table has no full list.
            override: Let the new inputs and names win (those of a running server do).
            file_inputs: Inputs that take a file of the input folder; those of this table stay.
            tiny_vaes: Approximations of a VAE that ComfyUI's own loader offers, if they are known.
        """
        merged: dict[_InputKey, LoaderInput] = {}
        for class_inputs in self._inputs.values():
            for loader_input in class_inputs:
                merged[_get_input_key(loader_input)] = loader_input
        for loader_input in inputs:
            key = _get_input_key(loader_input)
            if override or key not in merged:
                merged[key] = loader_input

        # The last one wins.
        names = [self._widget_names, widget_names or {}]
        if not override:
            names.reverse()
        merged_names = {**names[0], **names[1]}
        return LoaderTable(
            merged.values(),
            widget_names=merged_names,
            pickers=self._pickers,
            presets=self._presets,
            auto_downloads=self._auto_downloads,
            displays=self._displays,
            file_inputs=self.file_inputs.merge(file_inputs),
            tiny_vaes={**self.tiny_vaes, CORE_LOADER: tiny_vaes} if tiny_vaes else self.tiny_vaes,
        )

    def correct(self, inputs: Iterable[LoaderInput], names: Mapping[str, Collection[str]]) -> LoaderTable:
        """Return a table that agrees with the installed source, or with a running server.

        Rows of this table may have been made from another version of a pack.

        Args:
            inputs: Inputs that the source shows; their folders and widget indexes win.
            names: The names of all inputs of some classes. Rows for other inputs of these classes are dropped, and so
                are rows that know only a widget index, which named inputs make superfluous.
        """
        known = {_get_input_key(loader_input): loader_input for loader_input in inputs}
        corrected: list[LoaderInput] = []
        for class_type, class_inputs in self._inputs.items():
            for row in class_inputs:
                if class_type in names and row.name.partition(".")[0] not in names[class_type]:
                    continue
                corrected.append(_correct_row(row, known.get(_get_input_key(row))))
        table = LoaderTable(
            corrected,
            widget_names=self._widget_names,
            pickers=self._pickers,
            presets=self._presets,
            auto_downloads=self._auto_downloads,
            displays=self._displays,
            file_inputs=self.file_inputs,
            tiny_vaes=self.tiny_vaes,
        )
        return table.merge(known.values())

    @property
    def fingerprint(self) -> str:
        """Hex digest of the content, the same for equal tables."""
        if self._fingerprint is None:
            self._fingerprint = hashlib.sha256(
                orjson.dumps(self._list_content(), option=orjson.OPT_SORT_KEYS)
            ).hexdigest()
        return self._fingerprint

    def _list_content(self) -> list[object]:
        exceptions = [_sort_places(classes) for classes in (self._pickers, self._presets, self._auto_downloads)]
        others = [self.file_inputs.by_class, msgspec.to_builtins(self.tiny_vaes)]
        return [self._inputs, self._widget_names, exceptions, sorted(self._displays), *others]

    def _collect_widget_names(self, class_type: str) -> tuple[str | None, ...]:
        names = list(self._widget_names.get(class_type, ()))
        for loader_input in self.inputs(class_type):
            index = loader_input.widget_index
            if index is None or not loader_input.name:
                continue
            # Multiplying by a negative number gives an empty list.
            names.extend([None] * (index + 1 - len(names)))
            names[index] = names[index] or loader_input.name
        return tuple(names)


@cache
def load_builtin_table() -> LoaderTable:
    """Return the table that is part of the package."""
    raw: _PackagedTable = orjson.loads(Path(__file__).with_name("loader_table.json").read_bytes())
    inputs: list[LoaderInput] = []
    for class_type, (evidence, rows) in raw["classes"].items():
        inputs.extend(_build_input(raw, class_type, evidence, row) for row in rows)
    return LoaderTable(
        inputs,
        widget_names=raw["widget_names"],
        pickers=raw["pickers"],
        presets=raw["presets"],
        auto_downloads=raw["auto_downloads"],
        displays=raw["displays"],
    )


_Row = tuple[str, int | None, str] | tuple[str, int | None, str, list[str]]
"""Input name, widget index, folder and, where there are any, further folders."""

_InputKey = tuple[str, str | int | None]
"""Class, and input name or, for an input without one, widget index."""


class _PackagedTable(TypedDict):
    """The content of loader_table.json; `evidence` holds texts that the classes refer to by index."""

    evidence: list[str]
    exact_evidence: list[int]
    classes: dict[str, tuple[int, list[_Row]]]
    not_files: dict[str, list[str]]
    widget_names: dict[str, list[str | None]]
    pickers: dict[str, list[str]]
    presets: dict[str, list[str | int]]
    auto_downloads: dict[str, list[str | int]]
    displays: list[str]


def _build_input(raw: _PackagedTable, class_type: str, evidence: int, row: _Row) -> LoaderInput:
    name, widget_index, folder, *also_folders = row
    loader_input = LoaderInput(
        class_type=class_type,
        name=name,
        folder=folder,
        widget_index=widget_index,
        evidence=raw["evidence"][evidence],
        confidence="medium",
        also_folders=tuple(*also_folders),
    )
    if evidence not in raw["exact_evidence"]:
        return loader_input
    # Inputs that were probed in a running ComfyUI: their choices beside files are known exactly.
    return replace(loader_input, confidence="high", not_files=tuple(raw["not_files"].get(class_type, ())))


def _get_input_key(loader_input: LoaderInput) -> _InputKey:
    return loader_input.class_type, loader_input.name or loader_input.widget_index


def _correct_row(row: LoaderInput, source: LoaderInput | None) -> LoaderInput:
    """Return a row with the folders and the widget index that the source shows; where it agrees, the row itself."""
    if source is None:
        return row
    index = row.widget_index if source.widget_index is None else source.widget_index
    has_same_folders = {row.folder, *row.also_folders} == {source.folder, *source.also_folders}
    if has_same_folders and index == row.widget_index:
        return row
    return replace(source, widget_index=index)


def _group_by_class(inputs: Iterable[LoaderInput]) -> dict[str, tuple[LoaderInput, ...]]:
    by_class: dict[str, list[LoaderInput]] = {}
    for loader_input in inputs:
        by_class.setdefault(loader_input.class_type, []).append(loader_input)
    return {class_type: tuple(class_inputs) for class_type, class_inputs in by_class.items()}


def _freeze(places: Mapping[str, Iterable[_Place]] | None) -> dict[str, frozenset[_Place]]:
    return {class_type: frozenset(class_places) for class_type, class_places in (places or {}).items()}


def _sort_places(places: Mapping[str, frozenset[_Place]]) -> dict[str, list[str]]:
    # Sets have no stable order, and names cannot be compared with indexes.
    return {class_type: sorted(map(str, class_places)) for class_type, class_places in places.items()}
