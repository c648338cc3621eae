"""Which inputs of a class take a model name, and at which place the editor stores them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import NO_FILE_CHOICES, UPLOAD_OPTIONS, FileInput, FileKind
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

_WIDGETS: Final = frozenset(
    {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "Int", "Float", "String", "Boolean", "Combo"}
)
_WIDTH_UNKNOWN: Final = frozenset(
    {"DynamicCombo", "Autogrow", "DynamicSlot", "MultiType", "MultiCombo", "Webcam", "Load3D", "Color", "Curve"}
    | {"COLOR", "CURVE", "WEBCAM", "LOAD_3D", "LOAD_3D_ANIMATION", "BOUNDING_BOX", "IMAGECOMPARE", "AUDIO_RECORD"}
)
_UPLOADS: Final = frozenset({"image_upload", "video_upload", "audio_upload", "animated_image_upload", "upload"})
_V3_UPLOADS: Final[Mapping[str, FileKind]] = {
    "image": "picture",
    "audio": "sound",
    "video": "video",
    "model": "3D file",
}
_CHECK_METHODS: Final = frozenset({"VALIDATE_INPUTS", "validate_inputs"})
_PLAIN_BASES: Final = frozenset({"ComfyNode", "ComfyNodeABC", "object"})
_MAX_BASES: Final = 16
_SEEDS: Final = frozenset({"seed", "noise_seed"})


@dataclass(frozen=True, slots=True)
class _InputSlot:
    """One input, in the order of the editor; `width` counts its places in `widgets_values`, None when unsure."""

    name: str
    folders: frozenset[str]
    width: int | None
    others: tuple[str, ...] = ()
    upload: FileKind | None = None


@dataclass(slots=True)
class ClassInputs:
    """What the source of a class says of its inputs.

    Attributes:
        models: Inputs that list the files of a model folder.
        files: Inputs that take a file of the input folder.
    """

    models: list[LoaderInput] = field(default_factory=list)
    files: list[FileInput] = field(default_factory=list)


def read_inputs(
    class_type: str, owner: ClassRef, schema: NodeSchema | None, reader: ExpressionEvaluator, evidence: str
) -> ClassInputs:
    """Return the inputs of one class that take a file: a model, or one that a person puts into the input folder."""
    slots = _list_v3_slots(schema) if schema is not None else _list_v1_slots(_evaluate_input_types(owner, reader))
    found = ClassInputs()
    place: int | None = 0
    for slot in slots:
        if slot.upload is not None and not slot.folders:
            plain = tuple(dict.fromkeys((*NO_FILE_CHOICES, *slot.others)))
            found.files.append(FileInput(class_type, slot.name, slot.upload, place, plain))
        if slot.folders:
            first, *rest = sorted(slot.folders)
            others = tuple(dict.fromkeys((*NOT_FILES, *slot.others)))
            found.models.append(
                LoaderInput(class_type, slot.name, first, place, evidence, "medium", tuple(rest), not_files=others)
            )
        place = None if place is None or slot.width is None else place + slot.width
    return found


def has_input_checks(owner: ClassRef, reader: ExpressionEvaluator, *, depth: int = 0) -> bool:
    """Say whether a class checks inputs by a function of its own, which the server then leaves to it; or may."""
    if (
        depth > _MAX_BASES
        or owner.node.decorator_list
        or not _CHECK_METHODS.isdisjoint(reader.read_class_body(owner).names)
    ):
        return True
    for base in owner.node.bases:
        found = reader.evaluate(base, owner.scope)
        if isinstance(found, ClassRef):
            if has_input_checks(found, reader, depth=depth + 1):
                return True
        elif not _is_plain_base(base, found):
            return True
    return False


def _is_plain_base(base: ast.expr, found: Value) -> bool:
    if isinstance(found, ExternalName):
        return found.name.rpartition(".")[2] in _PLAIN_BASES
    return isinstance(base, ast.Name) and base.id == "object"


def _evaluate_input_types(owner: ClassRef, reader: ExpressionEvaluator) -> Value:
    function = reader.get_attribute(owner, "INPUT_TYPES")
    if not isinstance(function, FuncRef):
        return UNKNOWN
    wants_class = not function.is_bound and bool(function.node.args.args)
    return reader.call(function, [owner] if wants_class else [], {})


def _list_v1_slots(types: Value) -> Iterator[_InputSlot]:
    if not isinstance(types, AbstractDict):
        return
    for group in ("required", "optional"):
        inputs = types.entries.get(group)
        if inputs is None and not types.is_open:
            continue
        if not isinstance(inputs, AbstractDict):
            yield _InputSlot("", frozenset(), None)
            continue
        for name, spec in inputs.entries.items():
            width = None if name in inputs.doubtful else _get_v1_width(str(name), spec)
            names = _get_v1_options(spec)
            yield _InputSlot(str(name), names.folders, width, _list_texts(names), _get_v1_upload(spec))
        if inputs.is_open:
            yield _InputSlot("", frozenset(), None)


def _get_v1_options(spec: Value) -> AbstractList:
    """Return the options of a V1 spec: `(names,)`, `(names, {…})`, or `("COMBO", {"options": names})`."""
    if not isinstance(spec, AbstractList):
        return AbstractList()
    first = spec.values[0] if spec.values else UNKNOWN
    if isinstance(first, AbstractList):
        return first
    if first in {"COMBO", "COMBO_MULTI"} and len(spec.values) > 1 and isinstance(spec.values[1], AbstractDict):
        options = spec.values[1].entries.get("options")
        return options if isinstance(options, AbstractList) else AbstractList()
    return AbstractList(folders=spec.folders)


def _list_texts(names: AbstractList) -> tuple[str, ...]:
    """Return what a list offers beside the files of its folders."""
    return tuple(value for value in names.values if isinstance(value, str))


def _get_v1_upload(spec: Value) -> FileKind | None:
    if not isinstance(spec, AbstractList) or len(spec.values) < 2:  # noqa: PLR2004 - a type and its options
        return None
    kind, options = spec.values[:2]
    is_list = kind == "COMBO" or kind is UNKNOWN or isinstance(kind, AbstractList)
    return get_upload_kind(options.entries) if is_list and isinstance(options, AbstractDict) else None


def get_upload_kind(options: Mapping[Any, Any]) -> FileKind | None:
    """Return what a person uploads for a list of files, by the marks beside its type; None for any other list."""
    return next((kind for mark, kind in UPLOAD_OPTIONS.items() if options.get(mark) is True), None)


def _get_v1_width(name: str, spec: Value) -> int | None:
    if not isinstance(spec, AbstractList) or not spec.values:
        return None
    kind = spec.values[0]
    options = spec.values[1] if len(spec.values) > 1 else AbstractDict()
    if isinstance(kind, AbstractList):
        kind = "COMBO"
    if not isinstance(kind, str) or not isinstance(options, AbstractDict) or (options.is_open and kind in _WIDGETS):
        return None
    return widget_width(name, kind, options.entries)


def widget_width(name: str, kind: str, options: Mapping[Any, Any]) -> int | None:
    """Return how many places an input takes in the editor's `widgets_values`; None when that cannot be told.

    Links take none; a seed brings its "control after generate", an upload its button.

    Args:
        name: Input name.
        kind: Type as the server (`INT`, `COMBO`) or a V3 source (`Int`, `Combo`) names it.
        options: What the input states beside its type.
    """
    if kind in _WIDTH_UNKNOWN or kind.startswith("COMFY_") or options.get("forceInput", False) is UNKNOWN:
        return None
    if kind not in _WIDGETS or options.get("forceInput") or options.get("force_input"):
        return 0
    control = options.get("control_after_generate")
    if control is None:
        control = name in _SEEDS and kind in {"INT", "Int"}
    if (control and kind in {"COMBO", "Combo"}) or control is UNKNOWN or "remote" in options:
        return None
    return 1 + bool(control) + any(options.get(mark) for mark in _UPLOADS)


def is_socket(kind: str, options: Mapping[Any, Any]) -> bool:
    """Say whether only a link can feed an input: its type has no widget, or the class wants none."""
    if options.get("forceInput") or options.get("force_input"):
        return True
    return (
        kind not in _WIDGETS | _WIDTH_UNKNOWN
        and not kind.startswith("COMFY_")
        and options.get("socketless") is not True
    )


def _list_v3_slots(schema: NodeSchema) -> Iterator[_InputSlot]:
    if not isinstance(schema.inputs, AbstractList):
        return
    inputs = [spec for spec in schema.inputs.values if isinstance(spec, V3InputSpec)]
    is_whole = len(inputs) == len(schema.inputs.values) and not schema.inputs.is_open
    for optional in (False, True):
        for spec in inputs:
            if bool(spec.keywords.get("optional")) is optional:
                yield _build_v3_slot(spec, is_whole=is_whole)


def _build_v3_slot(spec: V3InputSpec, *, is_whole: bool) -> _InputSlot:
    if not isinstance(spec.name, str):
        return _InputSlot("", frozenset(), None)
    names = spec.options if isinstance(spec.options, AbstractList) else AbstractList()
    width = widget_width(spec.name, spec.kind, spec.keywords) if is_whole else None
    return _InputSlot(spec.name, names.folders, width, _list_texts(names), _get_v3_upload(spec))


def _get_v3_upload(spec: V3InputSpec) -> FileKind | None:
    upload = spec.keywords.get("upload") if spec.kind == "Combo" else None
    return _V3_UPLOADS.get(upload.name.rpartition("UploadType.")[2]) if isinstance(upload, ExternalName) else None
