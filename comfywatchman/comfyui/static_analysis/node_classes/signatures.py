"""Signatures of node classes from their source: what ComfyUI checks of a node, as far as the source shows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.inputs import (
    get_v1_choices,
    get_v1_width,
    is_v3_optional,
    sort_v3_inputs,
    split_v1,
)
from comfywatchman.comfyui.static_analysis.io_types import (
    OPEN,
    get_input_type,
    get_v1_type,
    get_v3_type,
    get_v3_width,
    has_v3_widget,
    list_v3_options,
)
from comfywatchman.comfyui.static_analysis.node_classes.class_checks import (
    list_refusable,
    read_output_mark,
    read_own_checks,
)
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassRef,
    NodeSchema,
    V3InputSpec,
    V3Part,
    Value,
    get_plain,
    is_constant,
)
from comfywatchman.comfyui.static_analysis.widgets import is_link_forced, is_socket
from comfywatchman.comfyui.validation.signature import (
    COMBO,
    InputExpansion,
    InputSignature,
    NodeSignature,
    Scalar,
    build_grown_names,
    build_list_type,
    grow_inputs,
    has_fixed_choices,
    is_dynamic_type,
    read_limit,
)


@dataclass(frozen=True, slots=True)
class _Subject:
    """The class whose inputs are read.

    Attributes:
        class_type: Its name for workflows.
        interpreter: Evaluates its source.
    """

    class_type: str
    interpreter: ExpressionEvaluator


_UNKNOWN_INPUT: Final = InputSignature("", None, width=None)
"""Stands for inputs that could not be read: behind it no widget index is known."""


def read_signature(
    class_type: str,
    owner: ClassRef,
    description: NodeSchema | Value,
    interpreter: ExpressionEvaluator,
    *,
    is_core: bool,
) -> NodeSignature:
    """Return the signature of a class; what the source does not show is unknown in it.

    Args:
        class_type: The class's name for workflows.
        owner: The class.
        description: Its V3 schema, or the value of `INPUT_TYPES()`.
        interpreter: Evaluates the source.
        is_core: Whether it comes with ComfyUI itself.
    """
    subject = _Subject(class_type, interpreter)
    if isinstance(description, NodeSchema):
        inputs = _read_v3_inputs(subject, description.inputs)
        outputs = _read_v3_outputs(description.outputs)
        is_output = description.is_output_node
    else:
        inputs = _read_v1_inputs(subject, description)
        outputs = _read_v1_outputs(interpreter.get_attribute(owner, "RETURN_TYPES"))
        is_output = read_output_mark(owner, interpreter)
    return NodeSignature(
        inputs=inputs,
        has_all_inputs=_UNKNOWN_INPUT not in inputs,
        outputs=outputs,
        is_output=is_output if isinstance(is_output, bool) else None,
        own_checks=read_own_checks(owner, interpreter),
        is_core=is_core,
        has_plain_types=is_core,
        has_editor_code=not is_core,
        may_offer_more=not is_core,
        refusable=list_refusable(owner, interpreter),
    )


def _read_v1_outputs(types: Value) -> tuple[str | None, ...] | None:
    if not isinstance(types, AbstractList) or types.is_open:
        return None
    return tuple(_name_type(get_v1_type(output)) for output in types.values)


def _name_type(value: Value) -> str | None:
    """Return a type as signatures write it; None for one that is not known."""
    if isinstance(value, AbstractList):
        choices = _read_choices(value)
        if choices is None:
            return None
        return build_list_type(choices)
    return value if isinstance(value, str) else None


def _read_v1_inputs(subject: _Subject, input_types: Value) -> tuple[InputSignature, ...]:
    if not isinstance(input_types, AbstractDict):
        return (_UNKNOWN_INPUT,)
    inputs: list[InputSignature] = []
    for group in ("required", "optional"):
        specifications = input_types.entries.get(group)
        if isinstance(specifications, AbstractDict):
            is_required = group == "required" and group not in input_types.possible_keys
            inputs.extend(_read_v1_group(subject, specifications, is_required=is_required))
        elif specifications is not None or input_types.is_open:
            inputs.append(_UNKNOWN_INPUT)
    return tuple(inputs)


def _read_v1_group(subject: _Subject, inputs: AbstractDict, *, is_required: bool) -> Iterable[InputSignature]:
    for name, specification in inputs.entries.items():
        # An input that only some version of the code adds may take values, or none.
        is_certain = name not in inputs.possible_keys
        signature = _read_v1_input(subject, str(name), specification, is_required=is_required and is_certain)
        yield signature if is_certain else InputSignature(signature.name, None, width=None)
    if inputs.is_open:
        yield _UNKNOWN_INPUT


def _read_v1_input(subject: _Subject, name: str, specification: Value, *, is_required: bool) -> InputSignature:
    declared_type, declared_options = split_v1(specification)
    input_type = get_v1_type(declared_type)
    is_legacy_combo = isinstance(input_type, AbstractList)
    options = _list_known_options(declared_options)
    type_name = _name_type(input_type)
    is_dynamic = type_name is not None and is_dynamic_type(type_name)
    is_file = BUILTIN_FILE_INPUTS.has_input(subject.class_type, name)
    is_combo = (is_legacy_combo or input_type == COMBO) and not is_file
    # An unknown type may be a list.
    may_be_combo = is_combo or (input_type is UNKNOWN and not is_file)
    listed = get_v1_choices(specification) if is_combo else UNKNOWN
    choices = _read_choices(listed, options) if is_combo and _is_whole(declared_options) else None
    return InputSignature(
        name=name,
        type=None if is_dynamic else type_name,
        is_required=is_required and not is_dynamic,
        is_socket=isinstance(input_type, str) and _is_whole(declared_options) and is_socket(input_type, options),
        width=get_v1_width(name, specification),
        is_forced=is_link_forced(options),
        is_file=is_file,
        minimum=read_limit(options.get("min")),
        maximum=read_limit(options.get("max")),
        choices=choices,
        known_choices=_read_known_choices(listed, options) if may_be_combo and choices is None else None,
    )


def _list_known_options(options: Value) -> dict[str, Value]:
    """Return the options that certainly have their value."""
    if not isinstance(options, AbstractDict):
        return {}
    return {str(name): value for name, value in options.entries.items() if name not in options.possible_keys}


def _is_whole(options: Value) -> bool:
    return isinstance(options, AbstractDict) and not options.is_open and not options.possible_keys


def _read_choices(choices: Value, options: Mapping[str, Value] | None = None) -> tuple[Scalar, ...] | None:
    """Return the choices that are the same for every user and moment; None for every other input."""
    if not isinstance(choices, AbstractList) or choices.is_open or choices.folders:
        return None
    values = [get_plain(choice) for choice in choices.values]
    if not has_fixed_choices(options or {}) or not all(is_constant(value) for value in values):
        return None
    return tuple(values)


def _read_known_choices(choices: Value, options: Mapping[str, Value]) -> tuple[Scalar, ...] | None:
    """Return the choices that the source shows of a list that it does not show whole.

    None where the server compares nothing: with the options of a list that the editor downloads.
    """
    if not has_fixed_choices(options):
        return None
    values = choices.values if isinstance(choices, AbstractList) else []
    return tuple(value for value in map(get_plain, values) if is_constant(value))


def _read_v3_outputs(outputs: Value) -> tuple[str | None, ...] | None:
    if not isinstance(outputs, AbstractList) or outputs.is_open:
        return None
    types: list[str | None] = []
    for output in outputs.values:
        if isinstance(output, V3Part):
            types.append(get_v3_type(output.kind.removesuffix(".Output")))
        else:
            types.append(None)
    return tuple(types)


def _read_v3_inputs(subject: _Subject, inputs: Value) -> tuple[InputSignature, ...]:
    specifications, is_whole = sort_v3_inputs(inputs)
    signatures = [_read_v3_input(subject, specification, is_whole=is_whole) for specification in specifications]
    if not is_whole:
        signatures.append(_UNKNOWN_INPUT)
    return tuple(signatures)


def _read_v3_input(subject: _Subject, specification: V3InputSpec, *, is_whole: bool) -> InputSignature:
    if not isinstance(specification.name, str):
        return _UNKNOWN_INPUT
    input_type = get_input_type(specification)
    options = list_v3_options(specification)
    is_dynamic = input_type is not None and is_dynamic_type(input_type)
    is_file = BUILTIN_FILE_INPUTS.has_input(subject.class_type, specification.name)
    is_combo = specification.kind == "Combo" and not is_file
    listed = _list_enum(specification.options, subject)
    choices = _read_choices(listed, options) if is_combo and OPEN not in options else None
    has_widget = (has_v3_widget(specification) or OPEN in options) and not is_link_forced(options)
    expansion = _read_expansion(subject, specification)
    return InputSignature(
        name=specification.name,
        type=None if is_dynamic else input_type,
        is_required=not is_dynamic and not is_v3_optional(specification),
        is_socket=input_type is not None and not has_widget and is_socket(input_type, options),
        width=get_v3_width(specification) if is_whole else None,
        is_forced=is_link_forced(options),
        is_file=is_file,
        minimum=read_limit(options.get("min")),
        maximum=read_limit(options.get("max")),
        choices=choices,
        expansion=expansion,
        known_choices=_read_known_choices(listed, options) if is_combo and choices is None else None,
    )


def _list_enum(options: Value, subject: _Subject) -> Value:
    """Return the members of an enumeration as a list, and any other value as it is."""
    if not isinstance(options, ClassRef):
        return options
    members = subject.interpreter.list_members(options)
    return UNKNOWN if members is None else members


def _read_expansion(subject: _Subject, specification: V3InputSpec) -> InputExpansion | None:
    """Return the inputs behind a dynamic one; None for a plain input, and where they are not known."""
    if specification.kind == "DynamicCombo":
        return _read_variants(subject, _get(specification, 1, "options"))
    if specification.kind == "Autogrow":
        return _read_grown(subject, _get(specification, 1, "template"))
    return None


def _read_variants(subject: _Subject, options: Value) -> InputExpansion | None:
    if not isinstance(options, AbstractList) or options.is_open:
        return None
    variants: dict[str, tuple[InputSignature, ...]] = {}
    for option in options.values:
        if not isinstance(option, V3Part):
            return None
        key = _get(option, 0, "key")
        inputs = _read_v3_inputs(subject, _get(option, 1, "inputs"))
        if not isinstance(key, str) or _UNKNOWN_INPUT in inputs:
            return None
        variants[key] = inputs
    return InputExpansion(variants=variants)


def _read_grown(subject: _Subject, template: Value) -> InputExpansion | None:
    if not isinstance(template, V3Part):
        return None
    specification = _get(template, 0, "input")
    if not isinstance(specification, V3InputSpec):
        return None
    inner = _read_v3_input(subject, specification, is_whole=True)
    names = _read_names(template)
    minimum = _get(template, 2, "min", 1)
    if names is None or not isinstance(minimum, int):
        return None
    return grow_inputs(inner, names, minimum)


def _read_names(template: V3Part) -> Collection[str] | None:
    if template.kind.endswith("TemplateNames"):
        names = _get(template, 1, "names")
        if not isinstance(names, AbstractList) or names.is_open:
            return None
        return [str(name) for name in names.values]
    prefix, count = _get(template, 1, "prefix"), _get(template, 3, "max", 10)
    if not isinstance(prefix, str) or not isinstance(count, int):
        return None
    return build_grown_names(prefix, count)


def _get(part: V3Part | V3InputSpec, position: int, name: str, default: Value = UNKNOWN) -> Value:
    """Return an argument of a part of a schema."""
    if position < len(part.arguments):
        return part.arguments[position]
    return part.keywords.get(name, default)
