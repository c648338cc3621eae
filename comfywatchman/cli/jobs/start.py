"""`comfywatchman jobs start`: the job agent, which reads job files and runs them until stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from comfywatchman.base.files import printable_path
from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.jobs.common import open_agent
from comfywatchman.cli.jobs.monitor import print_scan_line, print_scan_result
from comfywatchman.cli.jobs.run import open_worker, run_until_stopped
from comfywatchman.cli.options import json_option
from comfywatchman.cli.web.page_server import ServedPage, find_missing_packages, serve_page_beside

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.jobs.store.job_store import JobStore


@click.command()
@json_option
@click.pass_context
def start(context: click.Context, as_json: bool) -> None:
    """Read job files and run them on ComfyUI, until stopped.

    Ctrl-C and SIGTERM stop the running job, which goes back into the queue. With --json, each job file and each job
    that ended is one object per line.

    \b
    Examples:
      comfywatchman jobs start
      comfywatchman jobs start --json
    """
    from comfywatchman.jobs.files.monitor import run_monitor_loop
    from comfywatchman.jobs.housekeeping import run_housekeeping

    agent = open_agent(context)
    cfg = agent.settings
    _ = context.obj.log
    with agent.open_store() as store, StopEvent() as stop_event:
        stop_event.set_on_signals(signal.SIGINT, signal.SIGTERM)
        show = print_scan_line if as_json else print_scan_result
        monitor = threading.Thread(
            target=run_monitor_loop,
            args=(cfg, None, store, stop_event),
            kwargs={"report": show},
            name="jobs-monitor",
            daemon=True,
        )
        housekeeping = threading.Thread(
            target=run_housekeeping,
            args=(cfg, store, stop_event, context.obj.clock),
            name="jobs-housekeeping",
            daemon=True,
        )
        with open_worker(agent, store, stop_event) as worker:
            worker.settle()
            monitor.start()
            housekeeping.start()
            if not as_json:
                click.echo(f"Drop job files into {printable_path(cfg.processing)}.")
                click.echo(f"Outputs appear in {printable_path(cfg.finished)}. Ctrl-C stops.")
            with _serve_page(context.obj, store, is_quiet=as_json):
                run_until_stopped(agent, worker, store, stop_event, as_json=as_json)
        for thread in (monitor, housekeeping):
            thread.join(cfg.poll_interval_seconds + 5)


@contextmanager
def _serve_page(session: Session, store: JobStore, *, is_quiet: bool) -> Iterator[None]:
    """Serve the web page, unless `[web] with_jobs` is off or its packages are missing."""
    if not session.settings.web.with_jobs or find_missing_packages():
        yield
        return
    with serve_page_beside(session, store) as page:
        if isinstance(page, ServedPage):
            text = f"Page: {page.url} (comfywatchman web --code prints a code for signing in)"
        else:
            # Another agent or `comfywatchman web` serves it already, in most cases.
            text = f"The web page is not served: {page.message}"
        if not is_quiet:
            click.echo(text)
        yield
