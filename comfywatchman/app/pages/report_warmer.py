"""Computes what pages show of a new report before anybody asks for it: at many workflows that takes seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from comfywatchman.app.pages.attention import list_needed_actions
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import PageRequest
from comfywatchman.app.pages.workflows import view_workflows
from comfywatchman.base.errors import Failure

LOOK_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 5.0
log = logging.getLogger("comfywatchman.web")


def warm_report(host: PageHost) -> None:
    """Compute the views of the report, so that the next request finds them. Trouble is left to that request."""
    now = host.session.clock.now()
    try:
        list_needed_actions(host.for_request(), now)
        view_workflows(PageRequest(host, now))
    except Failure as failure:
        log.warning("report not prepared", extra={"code": failure.code, "error": failure.message})


@contextmanager
def keep_report_warm(host: PageHost) -> Iterator[threading.Thread]:
    """Prepare each new report in a thread until the context ends.

    Args:
        host: The host whose pages are served.
    """
    is_over = threading.Event()
    thread = threading.Thread(target=_run, args=(host, is_over), name="report-warmer", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        is_over.set()
        # A disk that does not answer must not hold up the end of the program.
        thread.join(_JOIN_SECONDS)


def _run(host: PageHost, is_over: threading.Event) -> None:
    version = None
    while not is_over.is_set():
        if host.report_version != version:
            # Read before the views: a report that is written meanwhile is prepared in the next round.
            version = host.report_version
            warm_report(host)
        is_over.wait(LOOK_SECONDS)
