"""`comfywatchman version verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import complete_names, json_option

if TYPE_CHECKING:
    from comfywatchman.versions.lockfile import VersionLock
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
@click.option("--all", "show_all", is_flag=True, help="Also list the parts that are as the lock says.")
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
    from comfywatchman.cli.render import FAILED, USAGE, print_json, print_table
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
        _announce(lock, findings, progress, overwrite=overwrite)
        tools = RestoreTools(build_model_placer(context.obj, progress), build_model_hasher(context.obj))
        restored = restore_models(lock, findings, state.models, tools, overwrite=overwrite)
        findings = compare(lock, state, hash_file=hash_file)
    states = {finding.state for finding in findings}
    if as_json:
        print_json(version=lock.tag, content_sha256=lock.content_sha256, findings=findings, restored=restored)
    else:
        shown = [finding for finding in findings if show_all or finding.state is not PartState.OK]
        rows = [(f.kind, f.name, f.state.value, f.expected, f.actual) for f in shown]
        if rows:
            print_table(("Kind", "Name", "State", "Locked", "Here"), rows)
        _print_restored(restored)
        click.echo(summarize([finding.state.value for finding in findings]))
        unpinned = [gap for gap in lock.unpinned if not models_only or gap.kind == "model"]
        _print_unpinned(len(unpinned), context.obj.format_command("version", "show", version))
    if PartState.UNKNOWN in states:
        context.exit(USAGE)
    if states & {PartState.MISSING, PartState.DIFFERENT}:
        context.exit(FAILED)


def _announce(
    lock: VersionLock, findings: Iterable[PartFinding], progress: Callable[[str], None], *, overwrite: bool
) -> None:
    """Tell how much will be fetched, before anything is."""
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.versions.verify import PartState

    sizes = {model.path: model.size for model in lock.models}
    states = {PartState.MISSING, PartState.DIFFERENT} if overwrite else {PartState.MISSING}
    wanted = [sizes[finding.name] for finding in findings if finding.kind == "model" and finding.state in states]
    if wanted:
        progress(f"Restoring {pluralize(len(wanted), 'model')} of {format_size(sum(wanted))} in all")


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
