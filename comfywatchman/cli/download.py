"""`comfywatchman download`: fetch what a plan holds, under the names that workflows use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.cli.render import DONE, FAILED, INTERRUPTED, print_json, print_table
from comfywatchman.cli.session import Session
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, PlanRules, check_item, select_items
from comfywatchman.readiness.downloads.queue import DownloadOutcome

if TYPE_CHECKING:
    from comfywatchman.readiness.downloads.explain_no_plan import MissingPlan


@click.command("download")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path, dir_okay=False), help="Fetch all of this plan.")
@click.option("--list", "only_list", is_flag=True, help="Show what would be fetched, and fetch nothing.")
@click.option("--forget", is_flag=True, help="Fetch nothing; take these, or all that is unfinished, off the list.")
@click.option("--parallel", type=click.IntRange(1, 16), help="How many files at the same time.")
@click.option("--limit", type=click.FloatRange(min=0), metavar="MIB", help="Most MiB per second, all files together.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
@click.pass_context
def download(
    context: click.Context,
    names: tuple[str, ...],
    plan_file: Path | None,
    only_list: bool,
    forget: bool,
    parallel: int | None,
    limit: float | None,
    as_json: bool,
) -> None:
    """Fetch missing models: all of a plan, some by name, or (without either) what was not finished.

    A cycle writes the plans, into output/plans. Files get their names only when size, SHA-256 and header are right;
    nothing is ever replaced. Ctrl-C keeps what came; the same command goes on there. Ends with 1 when something failed.
    """
    session: Session = context.obj
    if forget:
        context.exit(_forget(session, names, as_json=as_json))
    work = _DownloadCall(session, parallel=parallel, limit=limit)
    items = _select_items(session, names, plan_file, only_list=only_list)
    if only_list:
        _print_items([check_item(item, work.rules) for item in items], as_json=as_json)
        context.exit(DONE)
    outcomes, stopped = work.fetch(items, as_json=as_json)
    if as_json:
        print_json(outcomes=outcomes)
    if stopped:
        context.exit(INTERRUPTED)
    context.exit(FAILED if any(outcome.how is None for outcome in outcomes) else DONE)


class _DownloadCall:
    """One call: settings with what its options change, and what this host has."""

    def __init__(self, session: Session, *, parallel: int | None, limit: float | None) -> None:
        from comfywatchman.comfyui.install.folders import resolve_folders
        from comfywatchman.readiness.downloads.links import find_local_models

        self._session = session
        installation = session.require_installation("to download models for")
        section = session.settings.downloads
        section = msgspec.structs.replace(
            section,
            parallel=section.parallel if parallel is None else parallel,
            max_mib_per_second=section.max_mib_per_second if limit is None else limit,
        )
        self._settings = msgspec.structs.replace(session.settings, downloads=section)
        self._folders, _failures = resolve_folders(installation)
        self._here = {} if section.link == "off" else find_local_models(session.layout.database, self._folders)

    @property
    def rules(self) -> PlanRules:
        """What plans are held against."""
        from comfywatchman.readiness.downloads.run import build_plan_rules

        return build_plan_rules(self._settings, self._folders, {key: file.path for key, file in self._here.items()})

    def fetch(self, items: Sequence[PlanItem], *, as_json: bool) -> tuple[tuple[DownloadOutcome, ...], bool]:
        """Fetch items; say what came of them, and whether the person stopped it."""
        import signal

        from comfywatchman.base.stop import StopEvent
        from comfywatchman.cli.download_progress import show_progress
        from comfywatchman.readiness.downloads.run import DownloadContext
        from comfywatchman.readiness.downloads.run import run_downloads as fetch_all

        with StopEvent() as stop, show_progress(as_json=as_json) as watcher:
            stop.set_on_signals(signal.SIGINT, signal.SIGTERM)
            work = DownloadContext(
                home=self._session.layout.home,
                settings=self._settings,
                folders=self._folders,
                clock=self._session.clock,
                stop=stop,
                watcher=watcher,
                here=self._here,
            )
            return fetch_all(items, work), stop.is_set()


def _select_items(
    session: Session, names: tuple[str, ...], plan_file: Path | None, *, only_list: bool
) -> tuple[PlanItem, ...]:
    from comfywatchman.readiness.downloads.plan_files import newest_plan, plans_folder, read_plan
    from comfywatchman.readiness.downloads.queue import queue_file, read_queue

    home = session.layout.home
    if plan_file is not None:
        return _filter_by_name(read_plan(plan_file if plan_file.exists() else plans_folder(home) / plan_file), names)
    if not (names or only_list):
        unfinished = read_queue(queue_file(home))[0].unfinished()
        if not unfinished:
            _print_nothing_unfinished(session, newest_plan(home))
        return unfinished
    newest = newest_plan(home)
    if newest is not None:
        return _filter_by_name(newest, names)
    missing = _explain_missing_plan(session)
    if names or not missing.is_answer:
        raise Failure("download-no-plan", missing.reason, hint=_next_step(session, missing))
    click.echo(missing.reason, err=True)
    return ()


def _filter_by_name(plan: DownloadPlan, names: tuple[str, ...]) -> tuple[PlanItem, ...]:
    return select_items(plan, names) if names else plan.items


def _print_nothing_unfinished(session: Session, newest: DownloadPlan | None) -> None:
    if newest is not None and newest.items:
        step = f"To fetch the newest plan: {session.format_command('download', '--plan', f'{newest.cycle}.json')}"
        click.echo(f"No download is unfinished. {step}", err=True)
        return
    missing = _explain_missing_plan(session)
    click.echo(f"No download is unfinished. {missing.reason}\n{_next_step(session, missing)}", err=True)


def _explain_missing_plan(session: Session) -> MissingPlan:
    from comfywatchman.readiness.downloads.explain_no_plan import explain_no_plan
    from comfywatchman.readiness.report.write import read_report
    from comfywatchman.readiness.status import MasterStatus

    report = read_report(session.layout, only_look=True)
    return explain_no_plan(report if isinstance(report, MasterStatus) else None)


def _next_step(session: Session, missing: MissingPlan) -> str:
    return f"Run: {session.format_command('status' if missing.is_answer else '--run-cycle')}"


def _forget(session: Session, names: tuple[str, ...], *, as_json: bool) -> int:
    from comfywatchman.readiness.downloads.queue import queue_file, read_queue, remove_items

    path = queue_file(session.layout.home)
    unfinished = read_queue(path)[0].unfinished()
    gone = [item for item in unfinished if not names or item.filename in names]
    remove_items(path, [item.id for item in gone])
    if as_json:
        print_json(forgotten=[item.filename for item in gone])
    else:
        click.echo(f"{len(gone)} downloads are forgotten; unfinished files (.part) stay until you delete them.")
    return DONE


def _print_items(items: Sequence[PlanItem], *, as_json: bool) -> None:
    if as_json:
        print_json(items=items)
        return
    if not items:
        return
    from comfywatchman.readiness.downloads.plan_files import format_item_size

    columns = ("Model", "Size", "Into", "From", "Licence", "Base model", "Not possible because")
    rows = [
        (
            item.filename,
            format_item_size(item),
            item.target or "",
            item.same_as or item.source or "",
            item.licence or "unknown",
            item.base_model or "unknown",
            item.blocked or "",
        )
        for item in items
    ]
    print_table(columns, rows)
