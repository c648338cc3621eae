"""Reasons for which ComfyUI rejects an input."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.signature import Scalar


class RejectionReason(StrEnum):
    """Why ComfyUI rejects an input."""

    NOT_GIVEN = "not_given"
    NOT_OFFERED = "not_offered"
    NOT_A_NUMBER = "not_a_number"
    NOT_A_FILE_NAME = "not_a_file_name"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    BAD_LINK = "bad_link"
    NO_SUCH_NODE = "no_such_node"
    NO_SUCH_OUTPUT = "no_such_output"
    WRONG_TYPE = "wrong_type"
    CYCLE = "cycle"
    OPTIONAL_GROWTH = "optional_growth"


@dataclass(frozen=True, slots=True)
class LinkedOutput:
    """The other end of a link that ComfyUI rejects.

    Attributes:
        path: Path of the node.
        slot: Number of its output.
        class_type: Class of the node; None for one that is not in the prompt.
        type: Type of the output; None where it does not matter.
        count: Number of outputs of the node; 0 where it does not matter.
    """

    path: str
    slot: int
    class_type: str | None = None
    type: str | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class UncheckedInput:
    """A value that only ComfyUI can check: by choices that are not known, or by a function of the class.

    Attributes:
        class_type: Class of the node.
        input: Name of the input; empty where it is not known which inputs the class has.
    """

    class_type: str
    input: str = ""


@dataclass(frozen=True, slots=True)
class RejectedInput:
    """An input that ComfyUI rejects.

    Attributes:
        node: The node.
        input: Name of its input.
        reason: Why.
        value: The workflow's value; None for a link, and where there is none.
        offered: The choices of the server, for `NOT_OFFERED`.
        limit: The number that the value exceeds, for `TOO_SMALL` and `TOO_LARGE`.
        wanted: The type of the input, for `NOT_A_NUMBER` and `WRONG_TYPE`.
        output: The other end of the link.
        is_certain: False where a fact that decides is not known, so that ComfyUI may accept the input.
    """

    node: PromptNode
    input: str
    reason: RejectionReason
    value: Scalar = None
    offered: tuple[Scalar, ...] = ()
    limit: int | float | None = None
    wanted: str | None = None
    output: LinkedOutput | None = None
    is_certain: bool = True
