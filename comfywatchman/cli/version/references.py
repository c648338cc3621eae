"""`comfywatchman version record` and `check`."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.cli.options import json_option
from comfywatchman.cli.version.common import server_options


@click.command("record")
@click.argument("version")
@click.option(
    "--workflow",
    "workflows",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A workflow in API format. May be repeated.",
)
@server_options
@json_option
@click.pass_context
def record(
    context: click.Context, version: str, workflows: tuple[Path, ...], url: str | None, timeout: float, as_json: bool
) -> None:
    """Run workflows on the running ComfyUI, and keep their outputs as references of VERSION.

    \b
    Examples:
      comfywatchman version record 2026-11 --workflow reference.api.json
      comfywatchman version record 2026-11 --workflow a.json --url http://gpu:8188
    """
    from comfywatchman.app.version_references import build_workflow_runner
    from comfywatchman.base.files import printable_path
    from comfywatchman.base.text import pluralize
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.cli.version.common import ignore_progress, open_lock, references_folder, show_progress
    from comfywatchman.versions.references import record_outputs

    lock = open_lock(context.obj, version)
    folder = references_folder(context.obj, version)
    address = url or context.obj.settings.comfyui.url
    run = build_workflow_runner(address, limit_seconds=timeout, progress=ignore_progress if as_json else show_progress)
    records = record_outputs(lock.tag, lock.content_sha256, workflows, folder, run)
    if as_json:
        print_json(path=str(folder), workflows=records.workflows, outputs=records.outputs)
    else:
        click.echo(f"Recorded {pluralize(len(records.outputs), 'output')} in {printable_path(folder)}.")
    context.exit(DONE)


@click.command("check")
@click.argument("version")
@click.option("--tolerance", type=click.FloatRange(0, 255), default=0.0, help="Accepted mean difference, in 1 of 255.")
@server_options
@json_option
@click.pass_context
def check(
    context: click.Context, version: str, tolerance: float, url: str | None, timeout: float, as_json: bool
) -> None:
    """Run the workflows of `version record` again and compare the outputs by their decoded pixels.

    Exits with 1 when an output differs.

    \b
    Examples:
      comfywatchman version check 2026-11
      comfywatchman version check 2026-11 --tolerance 0.5
    """
    import tempfile

    from comfywatchman.app.version_references import build_workflow_runner
    from comfywatchman.cli.render import print_json, print_table, result_code
    from comfywatchman.cli.version.common import ignore_progress, open_lock, references_folder, show_progress
    from comfywatchman.versions.references import OutputState, check_outputs, read_records

    open_lock(context.obj, version)
    folder = references_folder(context.obj, version)
    records = read_records(folder)
    address = url or context.obj.settings.comfyui.url
    run = build_workflow_runner(address, limit_seconds=timeout, progress=ignore_progress if as_json else show_progress)
    with tempfile.TemporaryDirectory(prefix="comfywatchman-outputs-") as name:
        comparisons = check_outputs(records, folder, Path(name), run, tolerance=tolerance)
    if as_json:
        print_json(version=records.tag, outputs=comparisons)
    else:
        rows = []
        for one in comparisons:
            difference = "" if one.difference is None else f"{one.difference:.3f}"
            rows.append((one.workflow, one.node_id, str(one.number), one.state.value, difference))
        print_table(("Workflow", "Node", "Output", "Result", "Mean difference"), rows)
    is_good = all(one.state in {OutputState.SAME, OutputState.CLOSE} for one in comparisons)
    context.exit(result_code(success=is_good))
