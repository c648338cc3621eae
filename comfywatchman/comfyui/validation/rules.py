"""The rules by which one ComfyUI validates a prompt: its node classes, and the checks that its version makes."""

from __future__ import annotations

from typing import Final

import msgspec

from comfywatchman.comfyui.validation.signature import NodeSignature


class ServerChecks(msgspec.Struct, frozen=True, omit_defaults=True):
    """The checks in which versions of ComfyUI differ; None where it is not known.

    Attributes:
        new_combos: Whether the value of a combo in the newer notation (`"COMBO"`) is compared with its choices.
        lists_feed_combos: Whether an output whose type is a list may feed such a combo.
        grown_inputs: Whether the first inputs that a growing input adds must be given.
        optional_growth: Whether a growing input may add optional inputs; ComfyUI 0.7 fails on such a node.
    """

    new_combos: bool | None = None
    lists_feed_combos: bool | None = None
    grown_inputs: bool | None = None
    optional_growth: bool | None = None


UNKNOWN_CHECKS: Final = ServerChecks()


class ValidationRules(msgspec.Struct, frozen=True):
    """The rules of one ComfyUI.

    Attributes:
        classes: Its node classes. A class without signature may accept or refuse anything.
        checks: The checks of its version.
        is_live: Whether the running server gave the classes, and not its source.
    """

    classes: dict[str, NodeSignature] = {}
    checks: ServerChecks = UNKNOWN_CHECKS
    is_live: bool = False


NO_RULES: Final = ValidationRules()
