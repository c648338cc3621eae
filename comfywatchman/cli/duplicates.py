"""`comfywatchman duplicates`: identical models, and the space that linking them would free."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Final

import click

from comfywatchman.app.session import Session
from comfywatchman.base.text import format_size
from comfywatchman.cli.byte_progress import show_bytes
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, print_json, print_table, printable
from comfywatchman.readiness.downloads.duplicates import DuplicateGroup

if TYPE_CHECKING:
    from comfywatchman.comfyui.install.install import Installation
    from comfywatchman.readiness.models.inventory import ModelFile

_FOREVER_SECONDS: Final = 365 * 86400.0
_GIT_SECONDS: Final = 10.0


@click.command("duplicates")
@click.option("--hash", "with_hashing", is_flag=True, help="First hash the files that have the same size as another.")
@json_option
@click.pass_context
def duplicates(context: click.Context, with_hashing: bool, as_json: bool) -> None:
    """List identical models, and the space that hard links would free.

    Nothing is changed. Files of ComfyUI's own checkout, such as models/configs, are left out.

    \b
    Examples:
      comfywatchman duplicates
      comfywatchman duplicates --hash
    """
    groups, not_hashed = _find_groups(context.obj, with_hashing=with_hashing, as_json=as_json)
    if as_json:
        linkable = sum(group.linkable_bytes for group in groups)
        print_json(duplicates=groups, linkable_bytes=linkable, not_hashed=not_hashed)
        context.exit(DONE)
    _print_groups(groups)
    if not_hashed:
        have = "file has" if not_hashed == 1 else "files have"
        click.echo(f"{not_hashed} more {have} the same size as another and no hash yet: add --hash to be sure.")


def _print_groups(groups: tuple[DuplicateGroup, ...]) -> None:
    rows = []
    for group in groups:
        # Hash and saving are shown on the first row of a group only.
        sha256 = group.sha256[:12]
        saving = format_size(group.linkable_bytes) if group.linkable_bytes else ""
        for copy in group.copies:
            rows.append((sha256, format_size(group.size), copy.path, saving))
            sha256 = saving = ""
    if rows:
        print_table(("SHA-256", "Size", "File", "Hard links would free"), rows)
    if not groups:
        click.echo("No model is known to exist more than once.")
        return
    exist = "model exists" if len(groups) == 1 else "models exist"
    linkable = sum(group.linkable_bytes for group in groups)
    click.echo(f"{len(groups)} {exist} more than once; hard links would free {format_size(linkable)}.")


def _find_groups(session: Session, *, with_hashing: bool, as_json: bool) -> tuple[tuple[DuplicateGroup, ...], int]:
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.downloads.duplicates import find_duplicates, find_unhashed_lookalikes
    from comfywatchman.readiness.models.hashing import hash_within_budget
    from comfywatchman.readiness.models.index import ModelIndex
    from comfywatchman.readiness.models.inventory import build_inventory
    from comfywatchman.readiness.models.scan import scan_models

    installation = session.require_installation("to search for duplicates")
    with closing(open_database(session.layout.database)) as database:
        index = ModelIndex(database)
        # The folders are walked now; the index of earlier cycles supplies the hashes.
        models = build_inventory(scan_models(resolve_folders(installation)[0]), index).all_models()
        files = _leave_out_checkout(models, installation)
        if with_hashing:
            alike = find_unhashed_lookalikes(files, index.hashes())
            clock = session.clock
            with show_bytes(session.task, "Hashing", as_json=as_json) as show:
                result = hash_within_budget(
                    alike, index, budget_seconds=_FOREVER_SECONDS, monotonic=clock.monotonic, on_progress=show
                )
            for reason in result.skipped:
                click.echo(f"Not hashed: {printable(reason)}", err=True)
        return find_duplicates(files, index.hashes()), len(find_unhashed_lookalikes(files, index.hashes()))


def _leave_out_checkout(models: Iterable[ModelFile], installation: Installation) -> list[ModelFile]:
    """Return the models without those that came with ComfyUI: hard links in a checkout would be undone by git."""
    from comfywatchman.base.git import list_tracked_files

    tracked = list_tracked_files(installation.root, "models", timeout_seconds=_GIT_SECONDS) or frozenset()
    own = {str(installation.root / name) for name in tracked}
    configs = f"{installation.root / 'models' / 'configs'}/"
    return [model for model in models if model.path not in own and not model.path.startswith(configs)]
