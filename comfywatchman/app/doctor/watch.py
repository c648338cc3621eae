"""Checks of the watch itself: its service, its last report, packs that cannot be imported, and the environment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.session import Session
from comfywatchman.base.clock import format_past, parse_utc
from comfywatchman.base.text import pluralize
from comfywatchman.readiness.status import MasterStatus

if TYPE_CHECKING:
    from comfywatchman.readiness.history import CycleRecord

_SCHEDULER: Final = "comfywatchman.service"
_TIMER: Final = "comfywatchman-cycle.timer"
_CRON: Final = "cron"
_MAX_RECORDS: Final = 50


def check_service(session: Session) -> Iterator[DoctorCheck]:
    """Check that cycles start by themselves: by a scheduler, a systemd timer or cron."""
    from comfywatchman.base.config import systemd_user_folder
    from comfywatchman.base.lock import is_held, read_holder
    from comfywatchman.readiness.scheduler.systemd import list_written_units

    lock = session.home_layout.scheduler_lock
    if lock.exists() and is_held(lock):
        holder = read_holder(lock)
        since = f" since {format_past(parse_utc(holder.since), session.clock.now())}" if holder is not None else ""
        yield DoctorCheck("Service", CheckState.OK, f"running{since}")
        return
    units = list_written_units(systemd_user_folder())
    last = _find_last_start(session, has_timer=_TIMER in units)
    if last is not None:
        age = format_past(parse_utc(last.started_at), session.clock.now())
        by = "cron" if last.trigger == _CRON else "the systemd timer"
        yield DoctorCheck("Service", CheckState.OK, f"{by} started a check {age}")
        return
    unit = next((name for name in (_SCHEDULER, _TIMER) if name in units), None)
    if unit is not None:
        finding, step = f"{unit} is written, but starts no checks", f"systemctl --user enable --now {unit}"
    else:
        finding = "not running: checks run only when you start them"
        step = session.format_command("install-service", "--write")
    yield DoctorCheck("Service", CheckState.WARN, finding, step)


def _find_last_start(session: Session, *, has_timer: bool) -> CycleRecord | None:
    """Return the last cycle that cron or a timer started; None when it is so old that another was due since."""
    from comfywatchman.readiness.history import read_records

    schedule = session.settings.schedule
    # One may be missed while the machine sleeps, and a cycle is recorded when it ends.
    window = timedelta(minutes=2 * schedule.interval_minutes + schedule.cycle_deadline_minutes)
    # The scheduler records `schedule` as a timer does, but it holds its lock while it runs.
    triggers = {_CRON, "schedule"} if has_timer else {_CRON}
    oldest = session.clock.now() - window
    watched = session.watched_comfyui()
    records = read_records(session.layout.history, limit=_MAX_RECORDS, comfyui=watched.id if watched else None)
    for record in records:
        if record.trigger in triggers and parse_utc(record.started_at) >= oldest:
            return record
    return None


def check_report(session: Session) -> Iterator[DoctorCheck]:
    """Check that the last report is about this ComfyUI and up to date."""
    report = _read_report(session)
    command = session.format_command("--run-cycle")
    if report is None or report.checked_at is None:
        yield DoctorCheck("Report", CheckState.FAIL, "no check has run yet", command)
        return
    age = format_past(parse_utc(report.checked_at), session.clock.now())
    if session.clock.now() > parse_utc(report.valid_until):
        yield DoctorCheck("Report", CheckState.FAIL, f"out of date; checked {age}", command)
    else:
        yield DoctorCheck("Report", CheckState.OK, f"checked {age}")


def check_packs(session: Session) -> Iterator[DoctorCheck]:
    """Name each installed pack that cannot be imported, with the reason and what to do."""
    report = _read_report(session)
    found: dict[str, DoctorCheck] = {}
    for entry in report.workflows if report is not None else ():
        for node in entry.missing_nodes:
            if node.state == "import_failed" and node.packages:
                name = node.packages[0].title or node.packages[0].id
                finding = (node.evidence or f"{name} cannot be imported").rstrip(".")
                found.setdefault(name, DoctorCheck("Node packs", CheckState.FAIL, finding, node.fix or ""))
    yield from found.values()
    if report is None:
        yield DoctorCheck("Node packs", CheckState.SKIP, "waits for Report")
    elif not found:
        yield DoctorCheck("Node packs", CheckState.OK, "no workflow waits for a pack that cannot be imported")


def check_environment(session: Session) -> Iterator[DoctorCheck]:
    """Sum up the checks of the governed Python environment, from the last report."""
    report = _read_report(session)
    if report is None:
        yield DoctorCheck("Environment", CheckState.SKIP, "waits for Report")
        return
    environment = report.environment
    if environment.state == "not governed":
        yield DoctorCheck("Environment", CheckState.OK, "not governed by gov")
        return
    bad = [check for check in environment.checks if check.status != "ok"]
    for check in bad:
        state = CheckState.FAIL if check.status == "fail" else CheckState.WARN
        yield DoctorCheck("Environment", state, f"{check.name}: {check.evidence.rstrip('.')}", check.action or "")
    if not bad:
        yield DoctorCheck("Environment", CheckState.OK, f"{pluralize(len(environment.checks), 'gov check')} ok")


def _read_report(session: Session) -> MasterStatus | None:
    from comfywatchman.readiness.report.write import read_own_report

    report = read_own_report(session.layout, session.watched_comfyui(), only_look=True)
    return report if isinstance(report, MasterStatus) else None
