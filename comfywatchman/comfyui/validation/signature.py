"""What ComfyUI checks of a node class: its inputs, the types of its outputs, and its own checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

Scalar = str | int | float | bool | None
"""A value of the prompt that ComfyUI can compare: text, number, truth value or null."""

COMBO: Final = "COMBO"
ANY: Final = "*"
LIST_PREFIX: Final = "["
"""Begins the type of an output or combo that is a list of choices; a digest of the list follows."""


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
    """

    variants: dict[str, tuple[InputSignature, ...]] = {}
    grown: tuple[InputSignature, ...] = ()


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
    """

    inputs: tuple[InputSignature, ...] = ()
    has_all_inputs: bool = True
    outputs: tuple[str | None, ...] | None = None
    is_output: bool | None = None
    own_checks: tuple[str, ...] | None = None
    is_core: bool = False
    has_plain_types: bool = False
    has_editor_code: bool = True


ALL_INPUTS: Final = ("*",)
"""The value of `own_checks` for a function that takes any input."""

INPUT_TYPES_CHECK: Final = "input_types"
"""A function of a class's own with this parameter checks the types of links itself."""


def expand_inputs(
    inputs: Iterable[InputSignature], values: Mapping[str, Scalar], *, prefix: str = ""
) -> Iterator[InputSignature]:
    """Yield the inputs that ComfyUI checks in a prompt, with the names that they have there.

    Args:
        inputs: The inputs of a class, or those behind a dynamic input.
        values: The node's values by input name, which choose the variant of a dynamic combo.
        prefix: Name of the dynamic input around them, with a dot at its end.
    """
    for signature in inputs:
        name = prefix + signature.name
        expansion = signature.expansion
        if expansion is None:
            yield msgspec.structs.replace(signature, name=name) if prefix else signature
            continue
        for grown in expansion.grown:
            yield msgspec.structs.replace(grown, name=f"{name}.{grown.name}")
        value = values.get(name)
        if isinstance(value, str) and value in expansion.variants:
            yield from expand_inputs(expansion.variants[value], values, prefix=f"{name}.")
