"""What is wrong with the watch, as trouble at the top of `comfywatchman status`."""

from __future__ import annotations

import shlex
from datetime import datetime

from comfywatchman.base.clock import format_past, parse_utc
from comfywatchman.readiness.report.troubles import Trouble, TroubleKind
from comfywatchman.readiness.status import MasterStatus
from comfywatchman.readiness.watch_state import WatchState, WatchTrouble


def list_watch_troubles(
    watch: WatchState, report: MasterStatus, now: datetime, program: tuple[str, ...]
) -> tuple[Trouble, ...]:
    """Return what is wrong with the watch, and that the verdicts are old.

    Args:
        watch: The state of the watch.
        report: The last report.
        now: The present time.
        program: The arguments that start this program with the options of this call.
    """
    troubles = []
    last = watch.last
    step = f"Run {shlex.join([*program, '--run-cycle'])}."
    if last is not None and watch.trouble in {WatchTrouble.FAILED, WatchTrouble.KILLED}:
        verb = "failed" if watch.trouble is WatchTrouble.FAILED else "was killed"
        when = format_past(parse_utc(last.started_at), now)
        title = f"The last check {verb} {when}"
        troubles.append(Trouble(TroubleKind.WATCH, title, (last.message or "without a message").rstrip("."), step))
    if watch.trouble is WatchTrouble.STOPPED:
        due = format_past(parse_utc(report.watched_until or report.valid_until), now)
        troubles.append(Trouble(TroubleKind.WATCH, "The watch has stopped", f"a check was due {due}", step))
    if watch.trouble is WatchTrouble.SKIPPING and last is not None:
        title = f"The last {watch.skips} checks were skipped"
        troubles.append(Trouble(TroubleKind.WATCH, title, (last.message or "").rstrip(".")))
    if watch.has_old_verdicts and watch.trouble is not WatchTrouble.STOPPED:
        since = format_past(parse_utc(report.valid_until), now)
        troubles.append(Trouble(TroubleKind.SKIPPED, "The verdicts are out of date", f"since {since}"))
    return tuple(troubles)
