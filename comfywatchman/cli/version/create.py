"""`comfywatchman version create`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from comfywatchman.cli.options import json_option

if TYPE_CHECKING:
    from comfywatchman.versions.lockfile import VersionLock

_SHOWN_GAPS = 10


@click.command("create")
@click.argument("tag")
@click.option(
    "--workflow",
    "workflows",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="A workflow file, or a folder of them, whose models belong to the version. May be repeated.",
)
@click.option(
    "--venv",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The Python environment of ComfyUI, when it is neither governed nor beside ComfyUI.",
)
@click.option(
    "--models-spec",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON list of models with their addresses, which belong to the version too.",
)
@click.option("--require-ready", is_flag=True, help="Refuse when one of the workflows is not READY.")
@click.option("--offline", is_flag=True, help="Do not ask the package index for the hashes of packages.")
@click.option("--replace", is_flag=True, help="Replace a version of this name that has another content.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="The lock file, instead of lockfiles/comfy-TAG.lock.json."
)
@json_option
@click.pass_context
def create(
    context: click.Context,
    tag: str,
    workflows: tuple[Path, ...],
    venv: Path | None,
    models_spec: Path | None,
    require_ready: bool,
    offline: bool,
    replace: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Record the state of ComfyUI as the version TAG.

    The same state gives the same bytes. What cannot be reproduced from the lock (a modified checkout, a package without
    a hash, a model without an address) is listed, and stands in the lock.

    \b
    Examples:
      comfywatchman version create 2026-11
      comfywatchman version create 2026-11 --workflow ~/workflows --require-ready
    """
    from comfywatchman.app.versions import build_collect_tools, read_version_state
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.cli.version.common import ignore_progress, locks_folder, show_progress
    from comfywatchman.versions.collect import collect_version
    from comfywatchman.versions.lockfile import check_tag, lock_path
    from comfywatchman.versions.model_sources import check_declared_models, read_declared_models

    session = context.obj
    check_tag(tag)
    progress = ignore_progress if as_json else show_progress
    progress("Checking workflows" if workflows else "Looking for ComfyUI")
    declared = read_declared_models(models_spec) if models_spec else ()
    state = read_version_state(session, workflows, venv, declared=declared)
    tools = build_collect_tools(session, state.environment, progress=progress, offline=offline)
    lock = collect_version(tag, state, tools, require_ready=require_ready)
    check_declared_models(lock, declared)
    path = output or lock_path(locks_folder(session), tag)
    is_new = _save(path, lock, replace=replace)
    if as_json:
        print_json(path=str(path), is_new=is_new, lock=lock)
    else:
        _print_lock(path, lock, is_new=is_new)
    context.exit(DONE)


def _save(path: Path, lock: VersionLock, *, replace: bool) -> bool:
    """Write a lock unless the same one is there; return whether it was written.

    Raises:
        Failure: `version-exists`.
    """
    from comfywatchman.base.errors import Failure
    from comfywatchman.base.files import printable_path
    from comfywatchman.versions.lockfile import read_lock, write_lock

    if path.exists() and not replace:
        if read_lock(path).content_sha256 == lock.content_sha256:
            return False
        raise Failure(
            "version-exists",
            f"{printable_path(path)} exists, and this state is another one.",
            hint="Choose another name, or replace it: --replace. `version verify` shows what changed since.",
        )
    write_lock(path, lock)
    return True


def _print_lock(path: Path, lock: VersionLock, *, is_new: bool) -> None:
    from comfywatchman.base.files import printable_path
    from comfywatchman.base.text import pluralize
    from comfywatchman.cli.render import print_step, print_table, printable

    packages = len(lock.python.packages) if lock.python else 0
    parts = (
        pluralize(len(lock.nodes), "custom node"),
        pluralize(packages, "package"),
        pluralize(len(lock.models), "model"),
        pluralize(len(lock.workflows), "workflow"),
    )
    verb = "Wrote" if is_new else "Nothing changed since"
    click.echo(f"{verb} {printable_path(path)}: ComfyUI with {', '.join(parts)}.")
    if not lock.workflows and not lock.models:
        click.echo("No workflow was named (--workflow), so the version has no models.")
    if not lock.unpinned:
        click.echo("Everything in it can be restored from the lock alone.")
        return
    click.echo(f"{pluralize(len(lock.unpinned), 'part')} cannot be restored from the lock alone:")
    rows = [(gap.kind, gap.name, describe_gap(gap.reason)) for gap in lock.unpinned[:_SHOWN_GAPS]]
    print_table(("Kind", "Name", "Why"), rows)
    if len(lock.unpinned) > _SHOWN_GAPS:
        rest = len(lock.unpinned) - _SHOWN_GAPS
        print_step(f"and {rest} more: comfywatchman version show {printable(lock.tag)}")


def describe_gap(reason: str) -> str:
    """Return a reason of `Unpinned` for people."""
    return GAP_TEXTS.get(reason, reason)


GAP_TEXTS: Final = {
    "modified": "files differ from the commit",
    "no-repository": "it was not cloned from a repository",
    "no-hash": "no hash is known: the index lacks this version, or was not asked",
    "no-commit": "its commit is not recorded",
    "editable-source": "an editable installation",
    "path-source": "installed from a file or folder of this machine",
    "local-repository": "its repository is a folder of this machine",
    "invalid-metadata": "its metadata is not valid",
    "insecure-source": "installed over plain http, without a hash",
    "installed-twice": "two versions of it are installed",
    "no-source": "no address is known",
    "no-environment": "no Python environment was found; name it with --venv",
    "missing": "a workflow needs it, and it is not on this host",
}
