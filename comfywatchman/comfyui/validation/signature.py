"""What ComfyUI checks of a node class: its inputs, the types of its outputs, and its own checks."""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import orjson

Scalar = str | int | float | bool | None
"""A value of the prompt that ComfyUI can compare: text, number, truth value or null."""

COMBO: Final = "COMBO"
ANY: Final = "*"
LIST_PREFIX: Final = "["
"""Begins the type of an output or combo that is a list of choices; a digest of the list follows."""

MATCH_TYPE: Final = "COMFY_MATCHTYPE_V3"
"""Stands for the type of another input of the same node."""

_DYNAMIC_OPTIONS: Final = ("remote", "multi_select", "multiselect", "dynamic")
"""Options of a combo with which its choices are not a fixed list."""

_MAX_GROWN: Final = 100
"""Most inputs that a growing input has in ComfyUI."""

_DYNAMIC_PREFIX: Final = "COMFY_"
_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 64) - 1
"""Range of the integers that MessagePack stores."""

_MAX_FLOAT: Final = int(sys.float_info.max)


class InputSignature(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One input of a node class, as ComfyUI checks it.

    Attributes:
        name: Its name.
        type: Its type (`INT`, `MODEL`, `STRING,FLOAT`); a digest behind `[` for a combo whose list stands in place of
            the type; None when it is not known.
        is_required: Whether the prompt must give it.
        is_socket: Whether only a link can feed it in the editor.
        width: How many values it takes in the editor's `widgets_values`; None if that is not known.
        is_forced: Whether the class wants a link in place of a widget (`forceInput`).
        is_file: Whether it names a file of the user, which the class itself looks for.
        minimum: Lowest number; None without a limit.
        maximum: Highest number; None without a limit.
        choices: Every value that a combo takes; None for other inputs, and where they are not known.
        known_choices: The values that a combo takes for all that its source shows, where that is not the whole list;
            None for other inputs, and where the server compares nothing.
        expansion: The inputs that the server puts in place of this one; None for a plain input.
    """

    name: str
    type: str | None
    is_required: bool = False
    is_socket: bool = False
    width: int | None = 0
    is_forced: bool = False
    is_file: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[Scalar, ...] | None = None
    expansion: InputExpansion | None = None
    known_choices: tuple[Scalar, ...] | None = None

    @property
    def is_combo(self) -> bool:
        """Whether the server compares the value with a list of choices."""
        return self.type is not None and (self.type == COMBO or self.is_legacy_combo)

    @property
    def is_legacy_combo(self) -> bool:
        """Whether the list of choices stands in place of the type."""
        return self.type is not None and self.type.startswith(LIST_PREFIX)


class InputExpansion(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The inputs behind a dynamic input (`COMFY_DYNAMICCOMBO_V3`, `COMFY_AUTOGROW_V3`), named `input.inner`.

    As in `get_finalized_class_inputs` of ComfyUI 0.7 and later.

    Attributes:
        variants: For a dynamic combo, the inputs that each of its values adds.
        grown: For a growing input, all inputs that it can grow to.
        is_growth_optional: Whether the class declares those as optional, whatever their smallest number.
    """

    variants: dict[str, tuple[InputSignature, ...]] = {}
    grown: tuple[InputSignature, ...] = ()
    is_growth_optional: bool = False


class NodeSignature(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One node class, as ComfyUI checks a node of it.

    Attributes:
        inputs: Its inputs in the editor's order.
        has_all_inputs: Whether these are all; False where its source shows only some.
        outputs: The types of its outputs, None for a type that is not known; None when even their number is not known.
        is_output: Whether it is an output node; None when that is not known.
        own_checks: Inputs that it checks by a function of its own, so that ComfyUI does not compare their values;
            `ALL_INPUTS` for a function that takes any input; None when that is not known.
        is_core: Whether it comes with ComfyUI itself.
        has_plain_types: Whether all its types are certainly plain text; a pack may use a type that equals every other.
        has_editor_code: Whether its pack has code for the editor, which may change what the editor sends.
        may_offer_more: Whether its lists of choices may be longer than known, because other code adds to them.
        refusable: Those of `own_checks` that the function may refuse: none for one that only returns True.
    """

    inputs: tuple[InputSignature, ...] = ()
    has_all_inputs: bool = True
    outputs: tuple[str | None, ...] | None = None
    is_output: bool | None = None
    own_checks: tuple[str, ...] | None = None
    is_core: bool = False
    has_plain_types: bool = False
    has_editor_code: bool = True
    may_offer_more: bool = False
    refusable: tuple[str, ...] = ()


ALL_INPUTS: Final = ("*",)
"""The value of `own_checks` for a function that takes any input."""

INPUT_TYPES_CHECK: Final = "input_types"
"""A function of a class's own with this parameter checks the types of links itself."""


def build_list_type(choices: Sequence[object]) -> str:
    """Return a list of choices as a type: equal lists are equal types."""
    return LIST_PREFIX + hashlib.blake2b(orjson.dumps(choices), digest_size=8).hexdigest()


def is_dynamic_type(data_type: str) -> bool:
    """Return whether the editor and the server put other inputs in place of one of this type."""
    return data_type.startswith(_DYNAMIC_PREFIX) and data_type != MATCH_TYPE


def has_fixed_choices(options: Mapping[str, object]) -> bool:
    """Return whether the choices of a combo with these options are the same for every user and moment."""
    is_dynamic = any(options.get(option) for option in _DYNAMIC_OPTIONS)
    return not is_dynamic and not any(option.endswith("upload") for option in options)


def build_grown_names(prefix: object, count: int) -> list[str]:
    """Return the names of the inputs that a growing input with a prefix adds."""
    return [f"{prefix}{index}" for index in range(min(count, _MAX_GROWN))]


def read_limit(limit: object) -> int | float | None:
    """Return a lowest or highest number; None for anything else. An integer of more than 64 bits becomes a float."""
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return None
    if isinstance(limit, float):
        return None if math.isnan(limit) else limit
    if _MIN_INT <= limit <= _MAX_INT:
        return limit
    return float(max(-_MAX_FLOAT, min(limit, _MAX_FLOAT)))


def grow_inputs(template: InputSignature, names: Collection[str], minimum: int) -> InputExpansion:
    """Return the inputs that a growing input can grow to: the first `minimum` of them are required."""
    grown = tuple(
        InputSignature(
            name,
            template.type,
            is_required=template.is_required and index < minimum,
            is_socket=True,
            minimum=template.minimum,
            maximum=template.maximum,
            choices=template.choices,
            known_choices=template.known_choices,
        )
        for index, name in enumerate(itertools.islice(names, _MAX_GROWN))
    )
    return InputExpansion(grown=grown, is_growth_optional=not template.is_required)


def expand_inputs(
    inputs: Iterable[InputSignature], values: Mapping[str, Scalar], *, prefix: str = "", needs_grown: bool = True
) -> Iterator[InputSignature]:
    """Yield the inputs that ComfyUI checks in a prompt, with the names that they have there.

    Args:
        inputs: The inputs of a class, or those behind a dynamic input.
        values: The node's values by input name, which choose the variant of a dynamic combo.
        prefix: Name of the dynamic input around them, with a dot at its end.
        needs_grown: Whether the first inputs that a growing input adds must be given.
    """
    for signature in inputs:
        name = prefix + signature.name
        expansion = signature.expansion
        if expansion is None:
            yield msgspec.structs.replace(signature, name=name) if prefix else signature
            continue
        for grown in expansion.grown:
            is_required = grown.is_required and needs_grown
            yield msgspec.structs.replace(grown, name=f"{name}.{grown.name}", is_required=is_required)
        value = values.get(name)
        if isinstance(value, str) and value in expansion.variants:
            yield from expand_inputs(expansion.variants[value], values, prefix=f"{name}.", needs_grown=needs_grown)


def list_optional_growth(
    inputs: Iterable[InputSignature], values: Mapping[str, Scalar], *, prefix: str = ""
) -> Iterator[str]:
    """Yield the names of the growing inputs of a prompt that add optional inputs.

    Args:
        inputs: The inputs of a class, or those behind a dynamic input.
        values: The node's values by input name, which choose the variant of a dynamic combo.
        prefix: Name of the dynamic input around them, with a dot at its end.
    """
    for signature in inputs:
        name = prefix + signature.name
        if signature.expansion is None:
            continue
        if signature.expansion.is_growth_optional:
            yield name
        value = values.get(name)
        if isinstance(value, str) and value in signature.expansion.variants:
            yield from list_optional_growth(signature.expansion.variants[value], values, prefix=f"{name}.")
