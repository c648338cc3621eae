"""`comfywatchman version verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.version.common import accept_option

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.versions.lockfile import LockedModel, VersionLock
    from comfywatchman.versions.restore import RestoredModel
    from comfywatchman.versions.verify import InstalledState, PartFinding

_STATES = ("ok", "missing", "different", "extra", "unknown")


@click.command("verify")
@click.argument("version", shell_complete=complete_names("version"))
@click.option(
    "--venv",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The Python environment of ComfyUI, when it is neither governed nor beside ComfyUI.",
)
@click.option("--quick", is_flag=True, help="Compare models by size, without reading them.")
@click.option("--models-only", is_flag=True, help="Compare only the models.")
@click.option("--restore", is_flag=True, help="Put missing models back: linked from this host, or downloaded.")
@click.option("--overwrite", is_flag=True, help="With --restore: also replace models with another content.")
@accept_option
@click.option("--all", "show_all", is_flag=True, help="Also list the parts that agree with the lock.")
@json_option
@click.pass_context
def verify(
    context: click.Context,
    version: str,
    venv: Path | None,
    quick: bool,
    models_only: bool,
    restore: bool,
    overwrite: bool,
    accept_licences: bool,
    show_all: bool,
    as_json: bool,
) -> None:
    """Check whether ComfyUI, its nodes, packages and models are those of a version.

    Exits with 0 when everything is as the lock says, 1 when something is missing or differs, 2 when something could not
    be looked at. Parts that are there and not in the lock are listed, and change nothing. Ends with the number of parts
    that the lock cannot restore.

    \b
    Examples:
      comfywatchman version verify 2026-11
      comfywatchman version verify 2026-11 --quick --json
      comfywatchman version verify 2026-11 --restore
    """
    from comfywatchman.app.version_clones import build_model_placer
    from comfywatchman.app.versions import build_model_hasher, read_installed_state
    from comfywatchman.cli.render import print_json, print_table
    from comfywatchman.cli.version.common import ignore_progress, open_lock, show_progress
    from comfywatchman.versions.restore import RestoreTools, restore_models
    from comfywatchman.versions.verify import PartState, verify_version

    if overwrite and not restore:
        raise click.UsageError("--overwrite needs --restore.")
    lock = open_lock(context.obj, version)
    state = read_installed_state(context.obj, venv)
    hash_file = None if quick else build_model_hasher(context.obj)
    compare = _verify_only_models if models_only else verify_version
    findings = compare(lock, state, hash_file=hash_file)
    restored: tuple[RestoredModel, ...] = ()
    if restore:
        progress = ignore_progress if as_json else show_progress
        wanted = _find_wanted(lock, findings, overwrite=overwrite)
        _show_plan(context.obj, wanted, progress, accept=accept_licences, as_json=as_json)
        tools = RestoreTools(build_model_placer(context.obj, progress), build_model_hasher(context.obj))
        restored = restore_models(lock, findings, state.models, tools, overwrite=overwrite)
        findings = compare(lock, state, hash_file=hash_file)
    if as_json:
        print_json(version=lock.tag, content_sha256=lock.content_sha256, findings=findings, restored=restored)
    else:
        shown = [finding for finding in findings if show_all or finding.state is not PartState.OK]
        rows = [(f.kind, f.name, f.state.value, f.expected, f.actual) for f in shown]
        if rows:
            print_table(("Kind", "Name", "State", "Locked", "Here"), rows)
        _print_restored(restored)
        click.echo(summarize([finding.state.value for finding in findings]))
        unpinned = sum(not models_only or gap.kind == "model" for gap in lock.unpinned)
        _print_unpinned(unpinned, context.obj.format_command("version", "show", version))
    context.exit(_choose_exit_code(findings))


def _choose_exit_code(findings: Iterable[PartFinding]) -> int:
    from comfywatchman.cli.render import DONE, FAILED, USAGE
    from comfywatchman.versions.verify import PartState

    states = {finding.state for finding in findings}
    if PartState.UNKNOWN in states:
        return USAGE
    return FAILED if states & {PartState.MISSING, PartState.DIFFERENT} else DONE


def _find_wanted(lock: VersionLock, findings: Iterable[PartFinding], *, overwrite: bool) -> list[LockedModel]:
    """Return the models that are to be put back."""
    from comfywatchman.versions.verify import PartState

    states = {PartState.MISSING, PartState.DIFFERENT} if overwrite else {PartState.MISSING}
    names = {finding.name for finding in findings if finding.kind == "model" and finding.state in states}
    return [model for model in lock.models if model.path in names]


def _show_plan(
    session: Session, wanted: list[LockedModel], progress: Callable[[str], None], *, accept: bool, as_json: bool
) -> None:
    """Show licences and sizes before anything is fetched.

    Raises:
        Failure: `version-licence-unaccepted`.
    """
    from comfywatchman.app.version_clones import find_local_models
    from comfywatchman.app.version_licences import find_known_licences
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.cli.version.common import confirm_licences
    from comfywatchman.versions.licences import list_licensed_parts

    local = find_local_models(session)
    fetched = [model for model in wanted if model.sha256 not in local]
    confirm_licences(list_licensed_parts((), fetched, find_known_licences(session).get), accept=accept, as_json=as_json)
    if wanted:
        size = format_size(sum(model.size for model in wanted))
        progress(f"Restoring {pluralize(len(wanted), 'model')} of {size} in all")


def _verify_only_models(
    lock: VersionLock, state: InstalledState, *, hash_file: Callable[[Path], tuple[int, str]] | None
) -> tuple[PartFinding, ...]:
    from comfywatchman.versions.verify import verify_models

    return tuple(verify_models(lock.models, state.find_model, hash_file=hash_file))


def summarize(states: list[str]) -> str:
    """Return how many parts were compared, and how many are in each state."""
    from comfywatchman.base.text import pluralize

    if not states:
        return "Nothing was compared: the version has no such part."
    named = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    return f"{pluralize(len(states), 'part')}: {', '.join(named)}."


def _print_restored(restored: Iterable[RestoredModel]) -> None:
    from comfywatchman.cli.render import printable

    for outcome in restored:
        text = "restored" if outcome.is_restored else f"not restored: {outcome.message}"
        click.echo(f"{printable(outcome.path)}: {printable(text)}")


def _print_unpinned(count: int, command: str) -> None:
    from comfywatchman.cli.render import printable

    if count:
        click.echo(describe_unpinned(count, printable(command)))


def describe_unpinned(count: int, command: str) -> str:
    """Return how many parts the lock cannot restore, with the command that lists them."""
    from comfywatchman.base.text import pluralize

    return f"{pluralize(count, 'part')} of the version cannot be restored from the lock alone: {command}"
