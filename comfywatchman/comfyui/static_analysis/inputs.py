"""Inputs of a node class that take a file, and their indexes in the editor's `widgets_values`, from its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import NO_FILE_CHOICES, FileInput, FileKind
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.io_types import get_inner_input, get_v1_type, get_v3_width
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassRef,
    ExternalName,
    FuncRef,
    NodeSchema,
    V3InputSpec,
    Value,
)
from comfywatchman.comfyui.static_analysis.widgets import COMBO_TYPES, WIDGET_TYPES, get_upload_kind, widget_width

_UPLOAD_TYPES: Final[Mapping[str, FileKind]] = {
    "image": "picture",
    "audio": "sound",
    "video": "video",
    "model": "3D file",
}
"""Members of V3's `io.UploadType`, with the kind of the uploaded file."""


@dataclass(frozen=True, slots=True)
class _InputSlot:
    """One input, in the order of the editor.

    Attributes:
        name: Its name.
        folders: Model folders whose files it lists.
        width: How many values it takes in `widgets_values`; None if that is unknown.
        choices: Its text choices beside files.
        upload: Kind of the file that the editor uploads for it.
    """

    name: str
    folders: frozenset[str]
    width: int | None
    choices: tuple[str, ...] = ()
    upload: FileKind | None = None


_UNKNOWN_SLOT: Final = _InputSlot("", frozenset(), None)
"""Stands for inputs that could not be read: behind it no widget index is known."""


@dataclass(slots=True)
class ClassInputs:
    """The inputs of a class that take a file.

    Attributes:
        models: Inputs that list the files of a model folder.
        files: Inputs that take a file of the input folder.
    """

    models: list[LoaderInput] = field(default_factory=list)
    files: list[FileInput] = field(default_factory=list)


def read_inputs(class_type: str, description: NodeSchema | Value, evidence: str) -> ClassInputs:
    """Return the inputs of a class that take a model, or a file that the user puts into the input folder.

    Args:
        class_type: The class's name for workflows.
        description: Its V3 schema, or the value of `INPUT_TYPES()`.
        evidence: Source of this knowledge, for people.
    """
    inputs = ClassInputs()
    index: int | None = 0
    for slot in _list_slots(description):
        if slot.folders:
            folder, *also_folders = sorted(slot.folders)
            inputs.models.append(
                LoaderInput(
                    class_type=class_type,
                    name=slot.name,
                    folder=folder,
                    widget_index=index,
                    evidence=evidence,
                    confidence="medium",
                    also_folders=tuple(also_folders),
                    not_files=_merge_texts(NOT_FILES, slot.choices),
                )
            )
        elif slot.upload is not None:
            not_files = _merge_texts(NO_FILE_CHOICES, slot.choices)
            inputs.files.append(FileInput(class_type, slot.name, slot.upload, index, not_files))
        index = None if index is None or slot.width is None else index + slot.width
    return inputs


def _list_slots(description: NodeSchema | Value) -> Iterator[_InputSlot]:
    if isinstance(description, NodeSchema):
        return _list_v3_slots(description)
    return _list_v1_slots(description)


def _merge_texts(*groups: Iterable[str]) -> tuple[str, ...]:
    merged: dict[str, None] = {}
    for group in groups:
        merged.update(dict.fromkeys(group))
    return tuple(merged)


def _list_texts(options: AbstractList) -> tuple[str, ...]:
    return tuple(value for value in options.values if isinstance(value, str))


def evaluate_input_types(owner: ClassRef, interpreter: ExpressionEvaluator) -> Value:
    """Return the value of `INPUT_TYPES()` of a V1 class; UNKNOWN where it has none."""
    function = interpreter.get_attribute(owner, "INPUT_TYPES")
    if not isinstance(function, FuncRef):
        return UNKNOWN
    # Some packs leave out the decorator `@classmethod`.
    needs_class = not function.is_bound and bool(function.node.args.args)
    return interpreter.call(function, [owner] if needs_class else [], {})


def _list_v1_slots(input_types: Value) -> Iterator[_InputSlot]:
    if not isinstance(input_types, AbstractDict):
        return
    for group in ("required", "optional"):
        inputs = input_types.entries.get(group)
        if isinstance(inputs, AbstractDict):
            yield from _list_v1_group(inputs)
        elif inputs is not None or input_types.is_open:
            yield _UNKNOWN_SLOT


def _list_v1_group(inputs: AbstractDict) -> Iterator[_InputSlot]:
    for name, specification in inputs.entries.items():
        # An input that only some version of the code adds may take values, or none.
        is_certain = name not in inputs.possible_keys
        width = get_v1_width(str(name), specification)
        if not is_certain:
            width = None
        options = get_v1_choices(specification)
        yield _InputSlot(
            str(name), options.folders, width, choices=_list_texts(options), upload=_get_v1_upload(specification)
        )
    if inputs.is_open:
        yield _UNKNOWN_SLOT


def get_v1_choices(specification: Value) -> AbstractList:
    """Return the choices of a combo: `(choices,)`, `(choices, {…})`, or `("COMBO", {"options": choices})`."""
    input_type, options = split_v1(specification)
    if isinstance(input_type, AbstractList):
        return input_type
    if get_v1_type(input_type) in COMBO_TYPES and isinstance(options, AbstractDict):
        choices = options.entries.get("options", UNKNOWN if options.is_open else AbstractList())
        # A list that is not known may offer anything.
        return choices if isinstance(choices, AbstractList) else AbstractList(is_open=True)
    return AbstractList(folders=_as_list(specification).folders)


def split_v1(specification: Value) -> tuple[Value, Value]:
    """Return type and options of a specification; UNKNOWN for a part that is not known."""
    specification = _as_list(specification)
    parts = specification.values
    options: Value = parts[1] if len(parts) > 1 else UNKNOWN
    if len(parts) == 1 and not specification.is_open:
        options = AbstractDict()
    return (parts[0] if parts else UNKNOWN), options


def _as_list(value: Value) -> AbstractList:
    return value if isinstance(value, AbstractList) else AbstractList()


def _get_v1_upload(specification: Value) -> FileKind | None:
    input_type, options = split_v1(specification)
    may_be_combo = input_type == "COMBO" or input_type is UNKNOWN or isinstance(input_type, AbstractList)
    if not may_be_combo or not isinstance(options, AbstractDict):
        return None
    return get_upload_kind(options.entries)


def get_v1_width(name: str, specification: Value) -> int | None:
    """Return how many values an input takes in the editor's `widgets_values`; None if that is unknown."""
    input_type, options = split_v1(specification)
    input_type = get_v1_type(input_type)
    if isinstance(input_type, AbstractList):
        input_type = "COMBO"
    if not isinstance(input_type, str) or not isinstance(options, AbstractDict):
        return None
    # An option that is not known may be one that adds a button or takes the widget away.
    if options.is_open and input_type in WIDGET_TYPES:
        return None
    return widget_width(name, input_type, options.entries)


def _list_v3_slots(schema: NodeSchema) -> Iterator[_InputSlot]:
    inputs, is_whole = sort_v3_inputs(schema.inputs)
    for specification in inputs:
        yield _build_v3_slot(specification, is_whole=is_whole)


def sort_v3_inputs(inputs: Value) -> tuple[list[V3InputSpec], bool]:
    """Return the inputs of a V3 schema in the editor's order, and whether these are certainly all.

    ComfyUI lists required inputs first, whatever their order in the schema.
    """
    if not isinstance(inputs, AbstractList):
        return [], False
    known = [value for value in inputs.values if isinstance(value, V3InputSpec)]
    required = [specification for specification in known if not is_v3_optional(specification)]
    optional = [specification for specification in known if is_v3_optional(specification)]
    return [*required, *optional], len(known) == len(inputs.values) and not inputs.is_open


def is_v3_optional(specification: V3InputSpec) -> bool:
    """Return whether the prompt may leave an input out."""
    inner = get_inner_input(specification)
    return bool(specification.keywords.get("optional")) or (inner is not None and is_v3_optional(inner))


def _build_v3_slot(specification: V3InputSpec, *, is_whole: bool) -> _InputSlot:
    if not isinstance(specification.name, str):
        return _UNKNOWN_SLOT
    options = _as_list(specification.options)
    width = get_v3_width(specification) if is_whole else None
    return _InputSlot(
        specification.name,
        options.folders,
        width,
        choices=_list_texts(options),
        upload=_get_v3_upload(specification),
    )


def _get_v3_upload(specification: V3InputSpec) -> FileKind | None:
    if specification.kind != "Combo":
        return None
    upload = specification.keywords.get("upload")
    if not isinstance(upload, ExternalName):
        return None
    return _UPLOAD_TYPES.get(upload.name.rpartition("UploadType.")[2])
