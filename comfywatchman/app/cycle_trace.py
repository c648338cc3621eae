"""A line of history and of log for cycles that could not leave one themselves: not started, killed, missed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.history import CycleRecord, add_record, read_records
from comfywatchman.readiness.scheduler.state import CycleOutcome
from comfywatchman.readiness.unfinished import read_killed_cycle, remove_mark


def record_failed_start(session: Session, trigger: str, started: datetime, message: str) -> None:
    """Record a cycle that ended before it began, such as one whose ComfyUI is gone."""
    record = _build_record(session, trigger, started)
    record = msgspec.structs.replace(record, outcome="failed", message=message)
    try:
        _add(session, record)
    except Failure as failure:
        # The error of the cycle is the one to raise.
        session.log.warning("history not written", extra={"code": failure.code, "detail": failure.message})


def record_outcome(session: Session, outcome: CycleOutcome) -> None:
    """Record how a due cycle ended, unless the cycle has done so itself.

    Raises:
        Failure: `state-unwritable`, or a `config-…` code.
    """
    if outcome.outcome == "ran" or _has_own_record(session, outcome):
        return
    record = _build_record(session, outcome.trigger, outcome.started_at or outcome.due_at)
    killed = None
    if outcome.outcome == "killed":
        killed = read_killed_cycle(session.layout.running_cycle, session.clock)
    record = msgspec.structs.replace(
        killed or record,
        outcome=outcome.outcome,
        skipped_reason=outcome.reason if outcome.outcome in {"skipped", "missed"} else None,
        message=outcome.message or outcome.reason,
        count=outcome.count,
    )
    if outcome.started_at is not None:
        seconds = (outcome.finished_at - outcome.started_at).total_seconds()
        record = msgspec.structs.replace(record, duration_seconds=max(0.0, seconds))
    _add(session, record)
    if killed is not None:
        remove_mark(session.layout.running_cycle)


def _has_own_record(session: Session, outcome: CycleOutcome) -> bool:
    if outcome.started_at is None:
        return False
    for record in read_records(session.layout.history, limit=1):
        return record.trigger == outcome.trigger and record.started_at >= format_utc(outcome.started_at)
    return False


def _build_record(session: Session, trigger: str, started: datetime) -> CycleRecord:
    watched = session.watched_comfyui()
    return CycleRecord(
        id=f"{started:%Y%m%dT%H%M%SZ}-0",
        trigger=trigger,
        started_at=format_utc(started),
        duration_seconds=0.0,
        success=False,
        comfyui=watched.id if watched else None,
        comfyui_root=watched.root if watched else None,
    )


def _add(session: Session, record: CycleRecord) -> None:
    add_record(session.layout.history, record, keep=session.settings.report.history_entries)
    event = f"cycle {record.result}"
    session.log.error(
        event,
        extra={
            "cycle": record.id,
            "trigger": record.trigger,
            "comfyui": record.comfyui_root,
            "detail": record.message,
            "count": record.count,
        },
    )
