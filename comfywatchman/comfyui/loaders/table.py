"""Which inputs of which node classes name a model file, and of which folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypedDict

import orjson

from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS, FileInput, FileInputTable

NOT_FILES: Final = (
    "",
    "None",
    "none",
    "[None]",
    "Baked VAE",
    "ESAM",
    "default",
    "(use same)",
    "Select the LoRA to add to the text",
)
"""What custom nodes offer in a model list beside files (measured over 625 community workflows)."""

_AUTO_DOWNLOAD_PREFIX: Final = "DownloadAndLoad"
"""How many packs name the nodes that fetch their models by themselves."""


@dataclass(frozen=True, slots=True)
class LoaderInput:
    """One input of a node class that takes a model name.

    Attributes:
        class_type: Node class.
        name: Input name; empty when the place counts whatever its name is.
            `loras.N.lora_name` stands for every number in the place of `N`.
        folder: Canonical model folder.
        widget_index: Place in the editor's `widgets_values` list; None when only the name is known.
        evidence: What says so, in words (`loader table (ComfyUI 0.33.0)`).
        confidence: `high` for probed or live knowledge, `medium` for a static reading of a pack's source.
        also_folders: Further folders whose files the same input lists.
        not_files: Values that the input offers beside files.
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
    """Immutable knowledge about node classes; `extended` gives a new table.

    Args:
        inputs: Model inputs, in the order in which a class lists them.
        widget_names: Names of a class's widgets by place, None where unknown.
        pickers: Inputs that insert a name into a text and hold no choice of their own.
        presets: Places and names of inputs that take a preset, not a file.
        auto_downloads: Places and names of inputs whose files the node fetches by itself.
        displays: Classes that show a value and store the one of their last run.
        file_inputs: Inputs that take a file of the input folder.
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
    )

    def __init__(
        self,
        inputs: Iterable[LoaderInput],
        *,
        widget_names: Mapping[str, Sequence[str | None]] | None = None,
        pickers: Mapping[str, Sequence[str]] | None = None,
        presets: Mapping[str, Sequence[str | int]] | None = None,
        auto_downloads: Mapping[str, Sequence[str | int]] | None = None,
        displays: Iterable[str] = (),
        file_inputs: FileInputTable = BUILTIN_FILE_INPUTS,
    ) -> None:
        self._inputs = _group_by_class(inputs)
        self._widget_names = {name: tuple(names) for name, names in (widget_names or {}).items()}
        self._pickers = {name: frozenset(places) for name, places in (pickers or {}).items()}
        self._presets = {name: frozenset(places) for name, places in (presets or {}).items()}
        self._auto_downloads = {name: frozenset(places) for name, places in (auto_downloads or {}).items()}
        self._displays = frozenset(displays)
        self.file_inputs = file_inputs
        self._names: dict[str, tuple[str | None, ...]] = {}
        self._fingerprint: str | None = None

    def inputs(self, class_type: str) -> tuple[LoaderInput, ...]:
        """List the model inputs of a class; empty for a class without one and for an unknown class."""
        return self._inputs.get(class_type, ())

    def widget_names(self, class_type: str) -> tuple[str | None, ...]:
        """Give the names of a class's widgets by place, None where unknown; empty when nothing is known."""
        names = self._names.get(class_type)
        if names is None:
            names = self._names[class_type] = self._collect_widget_names(class_type)
        return names

    def is_picker(self, class_type: str, name: str) -> bool:
        """Say whether an input only inserts a name into a text."""
        return name in self._pickers.get(class_type, ())

    def is_preset(self, class_type: str, place: int | str) -> bool:
        """Say whether an input, by name or widget place, takes a preset that names no file."""
        return place in self._presets.get(class_type, ())

    def auto_downloads(self, class_type: str, place: int | str) -> bool:
        """Say whether the node itself fetches what this input, by name or widget place, names."""
        return class_type.startswith(_AUTO_DOWNLOAD_PREFIX) or place in self._auto_downloads.get(class_type, ())

    def is_display(self, class_type: str) -> bool:
        """Say whether the class only shows a value; what it stores is the value of an earlier run."""
        return class_type in self._displays

    def is_plain(self, class_type: str) -> bool:
        """Say whether the class has no pickers, presets or self-fetched inputs."""
        special = (self._pickers, self._presets, self._auto_downloads)
        return not (class_type.startswith(_AUTO_DOWNLOAD_PREFIX) or any(class_type in one for one in special))

    def merge(
        self,
        inputs: Iterable[LoaderInput],
        *,
        widget_names: Mapping[str, Sequence[str | None]] | None = None,
        override: bool = False,
        file_inputs: Iterable[FileInput] = (),
    ) -> LoaderTable:
        """Give a table that also holds later knowledge.

        Args:
            inputs: Fills what this table lacks: an input that it lists already keeps its folder.
            widget_names: Names by place, for classes that this table has no full list of.
            override: True lets the new inputs and names win (live `/object_info` of the running server).
            file_inputs: Inputs that take a file of the input folder; what this table knows of them stays.
        """
        own = {_get_input_key(known): known for listed in self._inputs.values() for known in listed}
        for new in inputs:
            if override or _get_input_key(new) not in own:
                own[_get_input_key(new)] = new
        names = (
            {**self._widget_names, **(widget_names or {})}
            if override
            else {**(widget_names or {}), **self._widget_names}
        )
        return LoaderTable(
            own.values(),
            widget_names=names,
            pickers={name: tuple(places) for name, places in self._pickers.items()},
            presets={name: tuple(places) for name, places in self._presets.items()},
            auto_downloads={name: tuple(places) for name, places in self._auto_downloads.items()},
            displays=self._displays,
            file_inputs=self.file_inputs.merge(file_inputs),
        )

    @property
    def fingerprint(self) -> str:
        """Hex digest over the content; equal for equal tables, whatever way they were made."""
        if self._fingerprint is None:
            self._fingerprint = hashlib.sha256(
                orjson.dumps(self._list_content(), option=orjson.OPT_SORT_KEYS)
            ).hexdigest()
        return self._fingerprint

    def _list_content(self) -> list[object]:
        places = [
            {class_type: sorted(map(str, listed)) for class_type, listed in one.items()}
            for one in (self._pickers, self._presets, self._auto_downloads)
        ]
        return [self._inputs, self._widget_names, places, sorted(self._displays), self.file_inputs.by_class]

    def _collect_widget_names(self, class_type: str) -> tuple[str | None, ...]:
        names = list(self._widget_names.get(class_type, ()))
        for known in self.inputs(class_type):
            if known.widget_index is None or not known.name:
                continue
            names.extend([None] * (known.widget_index + 1 - len(names)))
            names[known.widget_index] = names[known.widget_index] or known.name
        return tuple(names)


@cache
def load_builtin_table() -> LoaderTable:
    """Give the table that ships with the program."""
    raw: _PackagedTable = orjson.loads(Path(__file__).with_name("loader_table.json").read_bytes())
    return LoaderTable(
        (
            _build_packaged_input(raw, class_type, evidence, row)
            for class_type, (evidence, rows) in raw["classes"].items()
            for row in rows
        ),
        widget_names=raw["widget_names"],
        pickers=raw["pickers"],
        presets=raw["presets"],
        auto_downloads=raw["auto_downloads"],
        displays=raw["displays"],
    )


_Row = tuple[str, int | None, str] | tuple[str, int | None, str, list[str]]


class _PackagedTable(TypedDict):
    evidence: list[str]
    exact_evidence: list[int]
    classes: dict[str, tuple[int, list[_Row]]]
    not_files: dict[str, list[str]]
    widget_names: dict[str, list[str | None]]
    pickers: dict[str, list[str]]
    presets: dict[str, list[str | int]]
    auto_downloads: dict[str, list[str | int]]
    displays: list[str]


def _build_packaged_input(raw: _PackagedTable, class_type: str, evidence: int, row: _Row) -> LoaderInput:
    exact = evidence in raw["exact_evidence"]
    return LoaderInput(
        class_type=class_type,
        name=row[0],
        folder=row[2],
        widget_index=row[1],
        evidence=raw["evidence"][evidence],
        confidence="high" if exact else "medium",
        also_folders=tuple(row[3]) if len(row) > 3 else (),  # noqa: PLR2004 - the fourth field is optional
        not_files=tuple(raw["not_files"].get(class_type, ())) if exact else NOT_FILES,
    )


def _get_input_key(known: LoaderInput) -> tuple[str, str | int | None]:
    return known.class_type, known.name or known.widget_index


def _group_by_class(inputs: Iterable[LoaderInput]) -> dict[str, tuple[LoaderInput, ...]]:
    found: dict[str, list[LoaderInput]] = {}
    for one in inputs:
        found.setdefault(one.class_type, []).append(one)
    return {name: tuple(listed) for name, listed in found.items()}
