"""The result of a check: ok, warn, fail or unknown, with the observed facts and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from comfywatchman.base.text import shorten_list

CheckStatus = Literal["ok", "warn", "fail", "unknown"]

_MAX_NAMED: Final = 3


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One governance check, as the report shows it.

    Attributes:
        name: Its stable name, such as `lock` or `unregistered-nodes`.
        status: Its outcome; `unknown` when the check could not be made.
        evidence: The observed facts, in one sentence.
        action: The next step, a command where there is one; None when nothing needs to be done.
        items: The affected nodes, packages or files, sorted.
        vital: Whether ComfyUI may not run as it should while this fails.
        packs: The folders of the node packs whose nodes may not run while this fails.
    """

    name: str
    status: CheckStatus
    evidence: str
    action: str | None = None
    items: tuple[str, ...] = ()
    vital: bool = False
    packs: tuple[str, ...] = ()


def shorten_names(names: Sequence[str]) -> str:
    """Return the first three names of a list, and the number of the others."""
    return shorten_list(names, most=_MAX_NAMED)
