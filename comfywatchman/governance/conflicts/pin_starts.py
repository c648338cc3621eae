"""Start ComfyUI with each suggested pin: versions that fit together by their metadata need not work together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.governance.conflicts.suggestions import PinSuggestion
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.snapshot import read_root_files
from comfywatchman.governance.store.conflict_records import PinStart
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions import lock_trial, promotion
from comfywatchman.governance.transactions.run import describe_failure
from comfywatchman.governance.uv.overrides import merge_pins

MAX_SECONDS: Final = 300.0
"""How long all starts may take; the last one may go beyond it."""


def start_with_pins(
    context: GovContext, tried: Transaction, suggested: Sequence[PinSuggestion], *, max_seconds: float = MAX_SECONDS
) -> tuple[PinStart, ...]:
    """Start ComfyUI in a candidate of the lock that each pin leads to, as a promotion would.

    Args:
        context: The context; its lock must be held.
        tried: The transaction whose packages conflict.
        suggested: The pins.
        max_seconds: How long all starts may take.

    Returns:
        One result per pin, as far as there was time.

    Raises:
        Failure: `state-unwritable`.
    """
    started_at = context.clock.monotonic()
    starts = []
    for number, suggestion in enumerate(suggested, start=1):
        if context.clock.monotonic() - started_at >= max_seconds:
            break
        context.uv.progress(f"Starting ComfyUI with {suggestion.pin}")
        starts.append(_start_with_pin(context, tried, suggestion, name=f"{tried.txid}.pin-{number}"))
    return tuple(starts)


def rank_pins(pins: Sequence[str], starts: Sequence[PinStart]) -> tuple[str, ...]:
    """Return pins with those first with which ComfyUI started, and those last with which it did not."""
    ranks = {start.pin: 0 if start.has_started else 2 for start in starts}
    return tuple(sorted(pins, key=lambda pin: ranks.get(pin, 1)))


def _start_with_pin(context: GovContext, tried: Transaction, suggestion: PinSuggestion, *, name: str) -> PinStart:
    files = {**read_root_files(context.layout), "pyproject.toml": suggestion.project.encode("utf-8")}
    pinned = msgspec.structs.replace(tried, resolution_pins=merge_pins(tried.resolution_pins, [suggestion.pin]))
    try:
        with staging.open_staging(context.layout, contents=files) as work:
            locked = promotion.lock_tried_versions(context.uv, context.python, work, pinned)
            if not locked.is_success:
                return PinStart(pin=suggestion.pin, has_started=False, reason=locked.error_summary)
            judgement = lock_trial.try_lock(context, tried.node_id, work.folder, name=name)
    except Failure as failure:
        if failure.code != "gov-candidate-failed":
            raise
        return PinStart(pin=suggestion.pin, has_started=False, reason=failure.message)
    has_started = judgement.exit_code == 0
    reason = "" if has_started else describe_failure(judgement)
    return PinStart(pin=suggestion.pin, has_started=has_started, reason=reason)
