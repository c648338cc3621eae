"""`comfywatchman version list` and `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import complete_names, json_option

if TYPE_CHECKING:
    from comfywatchman.versions.lockfile import VersionLock


@click.command("list")
@json_option
@click.pass_context
def list_versions(context: click.Context, as_json: bool) -> None:
    """List the versions in the folder lockfiles.

    \b
    Examples:
      comfywatchman version list
      comfywatchman version list --json
    """
    from comfywatchman.base.errors import Failure
    from comfywatchman.base.files import printable_path
    from comfywatchman.cli.render import print_json, print_step, print_table, printable, result_code
    from comfywatchman.cli.version.common import locks_folder
    from comfywatchman.versions.lockfile import read_lock

    folder = locks_folder(context.obj)
    locks, problems = [], []
    for path in sorted(folder.glob("comfy-*.lock.json")):
        try:
            locks.append(read_lock(path))
        except Failure as failure:
            problems.append(failure.message)
    if as_json:
        print_json(versions=[_summarize(lock) for lock in locks], problems=problems)
    elif locks:
        rows = []
        for lock in locks:
            packages = len(lock.python.packages) if lock.python else 0
            counts = (len(lock.nodes), packages, len(lock.models), len(lock.workflows), len(lock.unpinned))
            rows.append((lock.tag, lock.comfyui.version or "?", *[str(count) for count in counts]))
        columns = ("Version", "ComfyUI", "Nodes", "Packages", "Models", "Workflows", "Not pinned")
        print_table(columns, rows, whole="Version", spare=("Workflows", "Packages"))
    else:
        print_step(f"There are no versions in {printable_path(folder)}. Make one: comfywatchman version create TAG")
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)
    context.exit(result_code(success=not problems))


@click.command("show")
@click.argument("version", shell_complete=complete_names("version"))
@json_option
@click.pass_context
def show(context: click.Context, version: str, as_json: bool) -> None:
    """Show what a version consists of. VERSION is a name or the path of a lock file.

    \b
    Examples:
      comfywatchman version show 2026-11
      comfywatchman version show ./comfy-2026-11.lock.json --json
    """
    from comfywatchman.base.text import format_size
    from comfywatchman.cli.render import DONE, print_json, print_table, printable
    from comfywatchman.cli.version.common import open_lock
    from comfywatchman.cli.version.create import describe_gap
    from comfywatchman.versions.describe import describe_code
    from comfywatchman.versions.lockfile import get_licence

    lock = open_lock(context.obj, version)
    if as_json:
        print_json(lock=lock)
        context.exit(DONE)
    click.echo(f"Version {printable(lock.tag)}, content {lock.content_sha256[:12]}")
    if lock.python:
        backend = f", torch for {lock.python.torch_backend}" if lock.python.torch_backend else ""
        python = f"{lock.python.implementation} {lock.python.version} on {lock.python.platform}"
        click.echo(f"{python}{backend}, {len(lock.python.packages)} packages")
    codes = (lock.comfyui, *lock.nodes)
    rows = [(code.name, describe_code(code), get_licence(code) or "unknown", code.repo or "-") for code in codes]
    print_table(("Code", "State", "Licence", "From"), rows)
    if lock.models:
        models = [
            (model.path, format_size(model.size), model.sha256[:12], get_licence(model) or "unknown")
            for model in lock.models
        ]
        print_table(("Model", "Size", "SHA-256", "Licence"), models)
    if lock.workflows:
        print_table(("Workflow", "Verdict"), [(workflow.path, workflow.status) for workflow in lock.workflows])
    if lock.unpinned:
        gaps = [(gap.kind, gap.name, describe_gap(gap.reason)) for gap in lock.unpinned]
        print_table(("Not pinned", "Name", "Why"), gaps)
    context.exit(DONE)


def _summarize(lock: VersionLock) -> dict[str, object]:
    return {
        "tag": lock.tag,
        "content_sha256": lock.content_sha256,
        "comfyui": lock.comfyui.version,
        "nodes": len(lock.nodes),
        "packages": len(lock.python.packages) if lock.python else 0,
        "models": len(lock.models),
        "workflows": len(lock.workflows),
        "unpinned": len(lock.unpinned),
    }
