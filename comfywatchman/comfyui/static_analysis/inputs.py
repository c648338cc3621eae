"""Inputs of a node class that take a file, and their indexes in the editor's `widgets_values`, from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import NO_FILE_CHOICES, FileInput, FileKind
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
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

_CHECK_METHODS: Final = frozenset({"VALIDATE_INPUTS", "validate_inputs"})
_PLAIN_BASES: Final = frozenset({"ComfyNode", "ComfyNodeABC", "object"})
"""Bases from outside the pack that check no inputs."""

_MAX_BASES: Final = 16


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


def read_inputs(
    class_type: str, owner: ClassRef, schema: NodeSchema | None, interpreter: ExpressionEvaluator, evidence: str
) -> ClassInputs:
    """Return the inputs of a class that take a model, or a file that the user puts into the input folder.

    Args:
        class_type: The class's name for workflows.
        owner: The class.
        schema: Its V3 schema; None for a V1 class, whose `INPUT_TYPES` is called instead.
        interpreter: Evaluates the source.
        evidence: Source of this knowledge, for people.
    """
    inputs = ClassInputs()
    index: int | None = 0
    for slot in _list_slots(owner, schema, interpreter):
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


def _list_slots(owner: ClassRef, schema: NodeSchema | None, interpreter: ExpressionEvaluator) -> Iterator[_InputSlot]:
    if schema is not None:
        return _list_v3_slots(schema)
    return _list_v1_slots(_evaluate_input_types(owner, interpreter))


def has_input_checks(owner: ClassRef, interpreter: ExpressionEvaluator, *, depth: int = 0) -> bool:
    """Return whether a class checks inputs by a function of its own, or may; the server leaves those inputs to it."""
    # A decorator may add the function, and so may a base class that is not known.
    if depth > _MAX_BASES or owner.node.decorator_list:
        return True
    if not _CHECK_METHODS.isdisjoint(interpreter.read_class_body(owner).names):
        return True
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if isinstance(value, ClassRef):
            if has_input_checks(value, interpreter, depth=depth + 1):
                return True
        elif not _is_plain_base(base, value):
            return True
    return False


def _is_plain_base(base: ast.expr, value: Value) -> bool:
    if isinstance(value, ExternalName):
        return value.name.rpartition(".")[2] in _PLAIN_BASES
    return isinstance(base, ast.Name) and base.id == "object"


def _merge_texts(*groups: Iterable[str]) -> tuple[str, ...]:
    merged: dict[str, None] = {}
    for group in groups:
        merged.update(dict.fromkeys(group))
    return tuple(merged)


def _list_texts(options: AbstractList) -> tuple[str, ...]:
    return tuple(value for value in options.values if isinstance(value, str))


def _evaluate_input_types(owner: ClassRef, interpreter: ExpressionEvaluator) -> Value:
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
        width = _get_v1_width(str(name), specification)
        if not is_certain:
            width = None
        options = _get_v1_options(specification)
        yield _InputSlot(
            str(name), options.folders, width, choices=_list_texts(options), upload=_get_v1_upload(specification)
        )
    if inputs.is_open:
        yield _UNKNOWN_SLOT


def _get_v1_options(specification: Value) -> AbstractList:
    """Return the choices of a combo: `(choices,)`, `(choices, {…})`, or `("COMBO", {"options": choices})`."""
    input_type, options = _split_v1(specification)
    if isinstance(input_type, AbstractList):
        return input_type
    if input_type in COMBO_TYPES and isinstance(options, AbstractDict):
        return _as_list(options.entries.get("options"))
    return AbstractList(folders=_as_list(specification).folders)


def _split_v1(specification: Value) -> tuple[Value, Value]:
    """Return type and options of a specification; UNKNOWN for a part that it does not have."""
    input_type, options, *_others = [*_as_list(specification).values, UNKNOWN, UNKNOWN]
    return input_type, options


def _as_list(value: Value) -> AbstractList:
    return value if isinstance(value, AbstractList) else AbstractList()


def _get_v1_upload(specification: Value) -> FileKind | None:
    input_type, options = _split_v1(specification)
    may_be_combo = input_type == "COMBO" or input_type is UNKNOWN or isinstance(input_type, AbstractList)
    if not may_be_combo or not isinstance(options, AbstractDict):
        return None
    return get_upload_kind(options.entries)


def _get_v1_width(name: str, specification: Value) -> int | None:
    input_type, options = _split_v1(specification)
    if len(_as_list(specification).values) == 1:
        options = AbstractDict()
    if isinstance(input_type, AbstractList):
        input_type = "COMBO"
    if not isinstance(input_type, str) or not isinstance(options, AbstractDict):
        return None
    # An option that is not known may be one that adds a button or takes the widget away.
    if options.is_open and input_type in WIDGET_TYPES:
        return None
    return widget_width(name, input_type, options.entries)


def _list_v3_slots(schema: NodeSchema) -> Iterator[_InputSlot]:
    if not isinstance(schema.inputs, AbstractList):
        return
    inputs = [value for value in schema.inputs.values if isinstance(value, V3InputSpec)]
    is_whole = len(inputs) == len(schema.inputs.values) and not schema.inputs.is_open
    # ComfyUI lists required inputs first, whatever their order in the schema.
    for is_optional in (False, True):
        for specification in inputs:
            if bool(specification.keywords.get("optional")) is is_optional:
                yield _build_v3_slot(specification, is_whole=is_whole)


def _build_v3_slot(specification: V3InputSpec, *, is_whole: bool) -> _InputSlot:
    if not isinstance(specification.name, str):
        return _UNKNOWN_SLOT
    options = _as_list(specification.options)
    width = None
    if is_whole:
        width = widget_width(specification.name, specification.kind, specification.keywords)
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
