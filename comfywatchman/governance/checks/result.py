"""The shape of what a check says."""

from __future__ import annotations

from typing import Literal

import msgspec

CheckStatus = Literal["ok", "warn", "fail", "unknown"]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One governance check, as the report shows it.

    Attributes:
        name: Its stable name, such as `lock` or `unregistered-nodes`.
        status: How it is.
        evidence: What was seen, in one sentence.
        action: What to do, a command where there is one; None when nothing is to do.
        items: What it is about (nodes, packages, files), sorted.
        vital: Whether ComfyUI may not run as it should while this fails.
    """

    name: str
    status: CheckStatus
    evidence: str
    action: str | None = None
    items: tuple[str, ...] = ()
    vital: bool = False
