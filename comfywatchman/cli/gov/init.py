"""`gov init`: create a governed root, adopt the environment that ComfyUI uses, or restore missing parts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize, shorten_list
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.governance.adoption.adopt import Adoption, Inspection
    from comfywatchman.governance.environments.context import GovContext
    from comfywatchman.governance.status import GovStatus
    from comfywatchman.governance.store.records import Operation
    from comfywatchman.governance.trial.production_start import ProductionStart

_MAX_NAMED = 8
_SOURCES = {"index": "from an index", "url": "from a URL", "editable": "from a folder, in place"}


@click.command(cls=GovCommand)
@click.option("--adopt", is_flag=True, help="Keep the packages of the environment that ComfyUI uses today.")
@click.option("--python", type=click.Path(path_type=Path), help="With --adopt: the interpreter that ComfyUI uses.")
@click.option("--yes", is_flag=True, help="With --adopt: do not ask.")
@click.option("--pin", "pins", multiple=True, metavar="PACKAGE==VERSION", help="A version to enforce; repeatable.")
@click.option("--keep", "keep", multiple=True, metavar="PACKAGE", help="Keep this one of packages with the same files.")
@json_option
@click.pass_context
def init(
    context: click.Context,
    adopt: bool,
    python: Path | None,
    yes: bool,
    pins: tuple[str, ...],
    keep: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create the governed environment of a ComfyUI, or restore the missing parts of one.

    Reads ComfyUI's requirements.txt, resolves it, builds an environment beside your own, verifies it and starts ComfyUI
    in it once. Your own environment and the folder custom_nodes are not touched. On a governed root it restores what is
    missing: a lock after an edit of pyproject.toml, an environment that was deleted or modified.

    With --adopt the new environment has the packages and versions of your own one, and every node pack in custom_nodes
    is registered. The plan is shown first.

    When an update of ComfyUI requires versions that nodes do not allow, the conflict is shown with pins to try, and the
    exit code is 2.

    \b
    Examples:
      gov init
      gov --comfyui ~/ComfyUI init --adopt
      gov init --pin numpy==1.26.4
    """
    if (python is not None or yes) and not adopt:
        raise click.UsageError("--python and --yes belong to --adopt.")
    if adopt and (pins or keep):
        raise click.UsageError("--pin and --keep cannot be combined with --adopt.")
    session: Session = context.obj
    inspection = None
    if adopt:
        with open_gov(session, "init", is_new=True, activity="Reading the environment") as (gov, _progress):
            inspection = _inspect(session, gov, python)
        _confirm(session, inspection, yes=yes)
    with open_gov(session, "init", is_new=True, activity="Building the environment") as (gov, _progress):
        adoption, operation = _change(gov, inspection, pins, keep)
        if session.comfyui_option is not None:
            _store_comfyui_dir(gov)
        start = _prove(gov, has_changed=operation is not None)
        gov_status, unused = _read_facts(gov)
        verification = _describe_verification(gov)
    if as_json:
        facts = {"operation": operation, "adoption": adoption, "start": start}
        print_result(context, {**facts, "status": gov_status, "unused_options": unused})
    else:
        for option in unused:
            click.echo(f"Not used: {printable(option)}", err=True)
        _print_results(gov_status, operation, adoption, start, verification)
        if start is None or start.has_started:
            click.echo(printable(describe_next_steps(session)))
    context.exit(FAILED if start is not None and not start.has_started else DONE)


def _inspect(session: Session, gov: GovContext, python: Path | None) -> Inspection:
    """Return the plan of an adoption."""
    from comfywatchman.base.config import active_environment
    from comfywatchman.comfyui.server.interpreter import find_interpreters
    from comfywatchman.comfyui.server.listening import find_servers
    from comfywatchman.governance.adoption.adopt import inspect_environment
    from comfywatchman.governance.adoption.old_environment import find_python, read_old_environment

    if python is None:
        running = next((path for _pid, path in find_interpreters(find_servers(gov.comfyui))), None)
        python = find_python(gov.comfyui, running=running, active=active_environment())
    if python is None:
        raise Failure(
            "gov-python-missing",
            "No Python environment of this ComfyUI was found.",
            hint="Name the interpreter that ComfyUI is started with: "
            + session.format_gov_command("init", "--adopt", "--python", "PATH"),
        )
    return inspect_environment(gov, read_old_environment(python.absolute()))


def _confirm(session: Session, inspection: Inspection, *, yes: bool) -> None:
    """Show the plan, and ask on a terminal.

    Raises:
        Failure: `gov-adoption-unconfirmed`.
    """
    for line in _describe_plan(inspection):
        click.echo(printable(line), err=True)
    if yes or (sys.stdin.isatty() and click.confirm("Build an environment with these packages?", err=True)):
        return
    command = session.format_gov_command("init", "--adopt", "--yes")
    raise Failure("gov-adoption-unconfirmed", "Nothing was changed.", hint=f"To adopt the environment: {command}")


def _describe_plan(inspection: Inspection) -> list[str]:
    from packaging.utils import canonicalize_name

    from comfywatchman.governance.uv.shared_modules import describe_packages, find_shared_modules

    old = inspection.old
    lines = [f"Environment: {old.prefix} (Python {old.version})"]
    for source, text in _SOURCES.items():
        names = [f"{package.name} {package.version}" for package in inspection.kept if package.source == source]
        if names:
            lines.append(f"  {len(names)} {text}: {shorten_list(names, most=_MAX_NAMED)}")
    wheels = [f"{package.name} {package.version}" for package in inspection.kept if package.source == "wheel"]
    if wheels:
        size = f"{inspection.wheel_bytes / 1e9:.1f} GB"
        lines.append(f"  {len(wheels)} rebuilt from their files, {size}: {shorten_list(wheels, most=_MAX_NAMED)}")
    for url, packages in sorted(inspection.indexes.items()):
        lines.append(f"  index for {', '.join(packages)}: {url} (written to [network.indexes] of config.toml)")
    if old.unreadable:
        lines.append(f"  not kept: {shorten_list(old.unreadable, most=_MAX_NAMED)}")
    for module in find_shared_modules({canonicalize_name(package.name) for package in inspection.kept}):
        subject = describe_packages(module.module, module.packages)
        lines.append(f"  {subject} own the same files; to keep one, afterwards: gov init --keep {module.keep}")
    lines.append(f"Node packs to register: {len(inspection.nodes)}")
    lines += [f"  not {folder}: {reason}" for folder, reason in inspection.refused_nodes.items()]
    return lines


def _change(
    gov: GovContext, inspection: Inspection | None, pins: tuple[str, ...], keep: tuple[str, ...]
) -> tuple[Adoption | None, Operation | None]:
    from comfywatchman.governance.adoption.adopt import adopt
    from comfywatchman.governance.conflicts.base_change import init_with_choices

    if inspection is None:
        try:
            return None, init_with_choices(gov, pins=pins, keep=keep)
        except Failure as failure:
            if failure.code == "gov-needs-resolution":
                _show_conflict(gov)
            raise
    adoption = adopt(gov, inspection)
    return adoption, adoption.operation


def _show_conflict(gov: GovContext) -> None:
    from comfywatchman.cli.gov.tx import show_conflict
    from comfywatchman.governance.conflicts.resolve import read_report
    from comfywatchman.governance.store.conflict_records import BASE_REPORT

    report = read_report(gov.layout, BASE_REPORT)
    # With --json, the failure names the conflict, and standard output holds JSON only.
    if report is not None and not click.get_current_context().params.get("as_json"):
        show_conflict(report)


def _store_comfyui_dir(gov: GovContext) -> None:
    from comfywatchman.governance.environments.init import store_comfyui_dir

    # Later commands need not name the ComfyUI again.
    store_comfyui_dir(gov.layout.config, gov.comfyui)


def _prove(gov: GovContext, *, has_changed: bool) -> ProductionStart | None:
    """Start ComfyUI in a new environment, and again after a start that failed; None when it was not started."""
    from comfywatchman.governance.nodes.registry import find_enabled_folders
    from comfywatchman.governance.trial.production_start import prove_production, read_start

    last = read_start(gov.layout)
    if not has_changed and (last is None or last.has_started):
        return None
    gov.uv.progress("Starting ComfyUI")
    return prove_production(gov, find_enabled_folders(gov.layout, gov.custom_nodes))


def _read_facts(gov: GovContext) -> tuple[GovStatus, tuple[str, ...]]:
    """Return the status of the root, and the options in ComfyUI's requirements.txt that are not used."""
    from comfywatchman.governance.status import read_status
    from comfywatchman.governance.uv.requirement_files import read_comfyui_requirements

    requirements = read_comfyui_requirements(gov.comfyui)
    return read_status(gov), () if requirements is None else requirements.options


def _describe_verification(gov: GovContext) -> str:
    """Return which files of production were verified, as the end of a sentence."""
    from comfywatchman.governance.environments import generation

    mark = generation.read_mark(gov.layout, generation.current_key(gov.layout))
    if mark is None or not (mark.unverifiable or mark.shared):
        return "all of their files verified"
    parts = []
    if mark.unverifiable:
        parts.append(f"{pluralize(len(mark.unverifiable), 'file')} that cannot be verified")
    if mark.shared:
        parts.append(f"{pluralize(sum(files.file_count for files in mark.shared), 'file')} of several packages")
    return f"their files verified but for {' and '.join(parts)} (gov check names them)"


def _print_results(
    gov_status: GovStatus,
    operation: Operation | None,
    adoption: Adoption | None,
    start: ProductionStart | None,
    verification: str,
) -> None:
    if operation is None:
        click.echo("The environment is complete; nothing was changed.")
    else:
        packages = pluralize(gov_status.packages, "package")
        click.echo(f"Governed: {printable(gov_status.root)}")
        click.echo(f"Production: Python {gov_status.python}, {packages}, {verification}.")
    if adoption is not None:
        _print_comparison(adoption)
    if start is not None:
        _print_start(start)


def describe_next_steps(session: Session) -> str:
    """Return what to do after `gov init`, with the options of this call."""
    add, run, check = (session.format_gov_command(*words) for words in (("node", "add", "URL"), ("run",), ("check",)))
    return f"Next: {add} registers a custom node, {run} starts ComfyUI, {check} checks everything."


def _print_comparison(adoption: Adoption) -> None:
    click.echo(f"Same as before: {pluralize(len(adoption.packages['same']), 'package')}.")
    rows = []
    for outcome in ("moved", "missing", "added"):
        packages = adoption.packages[outcome]
        rows += [(outcome, package, adoption.unkept.get(package.partition(" ")[0], "")) for package in packages]
    for node_id, lines in sorted(adoption.unmet_lines.items()):
        rows += [("unmet", f"{node_id}: {line}", "not satisfied by the old environment") for line in lines]
    for package, lines in sorted(adoption.dropped_lines.items()):
        rows += [("ignored", f"{package}: {line}", "not satisfied by the old environment") for line in lines]
    if rows:
        print_table(("Result", "Package", "Reason"), rows)
    click.echo(f"Registered: {pluralize(len(adoption.nodes), 'node pack')}.")


def _print_start(start: ProductionStart) -> None:
    from comfywatchman.governance.uv.module_packages import describe_missing_module

    if start.has_started:
        click.echo("ComfyUI started in the environment.")
        for pack, reason in sorted(start.import_failures.items()):
            click.echo(printable(f"  {pack} could not be imported: {reason}"))
        return
    click.echo(printable(f"ComfyUI did not start in the environment: {start.reason}"), err=True)
    if start.missing_module is not None:
        text = f"The module {start.missing_module} is missing. {describe_missing_module(start.missing_module)}"
        click.echo(printable(text), err=True)
    click.echo(printable(f"Production is unproven until it starts. Log: {start.log}"), err=True)
