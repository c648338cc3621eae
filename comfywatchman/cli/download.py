"""`comfywatchman download`: download the models of a plan, under the names that workflows use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.base.text import pluralize
from comfywatchman.cli.named_models import NamedModels, confirm_declared, link_models, sort_names
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.other_comfyui import build_other_comfyui_failure
from comfywatchman.cli.render import DONE, INTERRUPTED, print_json, print_table, printable, result_code
from comfywatchman.cli.workflow_names import read_last_report
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, check_item
from comfywatchman.readiness.downloads.queue import DownloadOutcome

if TYPE_CHECKING:
    from comfywatchman.comfyui.install.folders import ModelFolders
    from comfywatchman.readiness.downloads.explain_no_plan import PlanAbsence
    from comfywatchman.readiness.models.inventory import ModelFile


@click.command("download")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names("missing model"))
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path, dir_okay=False), help="Download all models of this plan."
)
@click.option("--list", "only_list", is_flag=True, help="Show what would be downloaded, and download nothing.")
@click.option("--forget", is_flag=True, help="Download nothing; forget the named unfinished downloads (default: all).")
@click.option("--parallel", type=click.IntRange(1, 16), help="Number of simultaneous downloads.")
@click.option(
    "--limit", type=click.FloatRange(min=0), metavar="MIB", help="Limit in MiB per second for all downloads together."
)
@click.option("--yes", is_flag=True, help="Accept files and links that no hash confirms.")
@json_option
@click.pass_context
def download(
    context: click.Context,
    names: tuple[str, ...],
    plan_file: Path | None,
    only_list: bool,
    forget: bool,
    parallel: int | None,
    limit: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Download missing models: all of a plan, some by name, or the unfinished ones.

    NAME is that of the model in the workflow, or its path as `status` prints it. A file of this host that has the name
    is linked. What is not proved by a hash is confirmed on a terminal, or with --yes.

    Each cycle writes a plan into output/plans. A file gets its final name only when size, SHA-256 and header are
    right; no file is ever replaced. After Ctrl-C the same command continues. Exits with 1 when a download failed.

    \b
    Examples:
      comfywatchman download --list
      comfywatchman download flux1-dev.safetensors
    """
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.comfyui.install.start_blockers import require_known_folders
    from comfywatchman.readiness.downloads.links import find_local_models
    from comfywatchman.readiness.downloads.rules import build_plan_rules

    session: Session = context.obj
    session.start_log()
    if forget:
        context.exit(_forget(session, names, as_json=as_json))
    settings = _apply_limits(session.settings, parallel=parallel, limit=limit)
    folders, blockers = resolve_folders(session.require_installation("to download models for"))
    require_known_folders(blockers)
    local_models: dict[str, ModelFile] = {}
    if settings.downloads.link != "off":
        local_models = find_local_models(session.layout.database, folders)
    named = _select_items(session, names, plan_file, only_list=only_list)
    items: Sequence[PlanItem] = (*named.items, *named.declared)
    if only_list:
        rules = build_plan_rules(settings, folders, {sha256: file.path for sha256, file in local_models.items()})
        _print_items([check_item(item, rules) for item in items], as_json=as_json)
        context.exit(DONE)
    confirm_declared(named.declared, yes=yes)
    linked = link_models(session, named.links, folders, yes=yes)
    if not as_json:
        for outcome in linked:
            click.echo(f"{printable(outcome.target or '')}: {printable(outcome.message or '')}")
    outcomes, is_stopped = linked, False
    if items or not linked:
        downloaded, is_stopped = _run_downloads(session, items, settings, folders, local_models, as_json=as_json)
        outcomes = (*linked, *downloaded)
    if as_json:
        print_json(outcomes=outcomes)
    if is_stopped:
        context.exit(INTERRUPTED)
    context.exit(result_code(success=all(outcome.how is not None for outcome in outcomes)))


def _apply_limits(settings: Settings, *, parallel: int | None, limit: float | None) -> Settings:
    downloads = settings.downloads
    if parallel is not None:
        downloads = msgspec.structs.replace(downloads, parallel=parallel)
    if limit is not None:
        downloads = msgspec.structs.replace(downloads, max_mib_per_second=limit)
    return msgspec.structs.replace(settings, downloads=downloads)


def _run_downloads(
    session: Session,
    items: Sequence[PlanItem],
    settings: Settings,
    folders: ModelFolders,
    local_models: dict[str, ModelFile],
    *,
    as_json: bool,
) -> tuple[tuple[DownloadOutcome, ...], bool]:
    """Download items; return their outcomes, and whether the user stopped it."""
    import signal

    from comfywatchman.base.stop import StopEvent
    from comfywatchman.cli.download_progress import show_progress
    from comfywatchman.readiness.downloads.item_downloader import DownloadContext
    from comfywatchman.readiness.downloads.run import run_downloads

    with StopEvent() as stop, show_progress(session.task, items, as_json=as_json) as watcher:
        stop.set_on_signals(signal.SIGINT, signal.SIGTERM)
        download_context = DownloadContext(
            home=session.layout.home,
            comfyui=_read_comfyui_id(session) or "",
            settings=settings,
            folders=folders,
            clock=session.clock,
            stop=stop,
            watcher=watcher,
            local_models=local_models,
        )
        return run_downloads(items, download_context), stop.is_set()


def _select_items(session: Session, names: tuple[str, ...], plan_file: Path | None, *, only_list: bool) -> NamedModels:
    from comfywatchman.readiness.downloads.plan_files import plans_folder, read_newest_plan, read_plan
    from comfywatchman.readiness.downloads.queue import queue_file, read_queue

    home = session.layout.home
    if plan_file is not None:
        # A bare name means a plan of this home.
        path = plan_file if plan_file.exists() else plans_folder(home) / plan_file
        plan = _require_own_plan(session, plan_file, read_plan(path))
        return sort_names(session, names, plan, None) if names else NamedModels(list(plan.items))
    if not (names or only_list):
        unfinished = read_queue(queue_file(home))[0].unfinished(_read_comfyui_id(session))
        if not unfinished:
            _print_nothing_to_resume(session, read_newest_plan(home, session.watched_comfyui()))
        return NamedModels(list(unfinished))
    newest = read_newest_plan(home, session.watched_comfyui())
    report = read_last_report(session)
    if names and (newest is not None or report is not None):
        return sort_names(session, names, newest, report)
    if newest is not None:
        return NamedModels(list(newest.items))
    missing = _explain_missing_plan(session)
    if names or not missing.is_final:
        raise Failure("download-no-plan", missing.reason, hint=_next_step(session, missing))
    # `--list` of nothing is not an error when a cycle found nothing to download.
    click.echo(missing.reason, err=True)
    return NamedModels()


def _read_comfyui_id(session: Session) -> str | None:
    watched = session.watched_comfyui()
    return None if watched is None else watched.id


def _require_own_plan(session: Session, plan_file: Path, plan: DownloadPlan) -> DownloadPlan:
    """Refuse a plan that lists what another ComfyUI lacks; one of an older version is the choice of who names it."""
    watched = session.watched_comfyui()
    if plan.comfyui is None or (watched is not None and watched.is_same(plan.comfyui)):
        return plan
    raise build_other_comfyui_failure(
        session, f"The plan {plan_file.name}", plan.comfyui, plan.made_at, command=f"download --plan {plan_file.name}"
    )


def _print_nothing_to_resume(session: Session, newest: DownloadPlan | None) -> None:
    if newest is not None and newest.items:
        step = f"To fetch the newest plan: {session.format_command('download', '--plan', f'{newest.cycle}.json')}"
        click.echo(f"No download is unfinished. {step}", err=True)
        return
    missing = _explain_missing_plan(session)
    click.echo(f"No download is unfinished. {missing.reason}\n{_next_step(session, missing)}", err=True)


def _explain_missing_plan(session: Session) -> PlanAbsence:
    from comfywatchman.readiness.downloads.explain_no_plan import explain_no_plan
    from comfywatchman.readiness.report.write import read_own_report
    from comfywatchman.readiness.status import MasterStatus

    report = read_own_report(session.layout, session.watched_comfyui(), only_look=True)
    return explain_no_plan(report if isinstance(report, MasterStatus) else None)


def _next_step(session: Session, missing: PlanAbsence) -> str:
    return f"Run: {session.format_command('status' if missing.is_final else '--run-cycle')}"


def _forget(session: Session, names: tuple[str, ...], *, as_json: bool) -> int:
    from comfywatchman.readiness.downloads.queue import queue_file, read_queue, remove_items

    path = queue_file(session.layout.home)
    queue, _corrupt = read_queue(path)
    forgotten: dict[str, PlanItem] = {}
    # Entries of older versions name no ComfyUI; they can only be forgotten.
    for comfyui in (_read_comfyui_id(session), None):
        items = [item for item in queue.unfinished(comfyui) if not names or item.filename in names]
        remove_items(path, [item.id for item in items], comfyui)
        forgotten.update((item.id, item) for item in items)
    if as_json:
        print_json(forgotten=[item.filename for item in forgotten.values()])
    else:
        count = pluralize(len(forgotten), "unfinished download")
        click.echo(f"Forgot {count}. Partial files (.part) stay until you delete them.")
    return DONE


def _print_items(items: Sequence[PlanItem], *, as_json: bool) -> None:
    if as_json:
        print_json(items=items)
        return
    if not items:
        click.echo("Nothing to download.")
        return
    from comfywatchman.readiness.downloads.plan_files import format_item_size

    columns = ("Model", "Size", "Into", "From", "Licence", "Base model", "Blocked because")
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
