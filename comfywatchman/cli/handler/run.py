"""`comfywatchman handler run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfywatchman.cli.handler.common import allow_any, gcs_options, handling_options, read_version_name
from comfywatchman.cli.options import json_option

if TYPE_CHECKING:
    from comfywatchman.handler.gcs import GcsStore
    from comfywatchman.jobs.execution.run_states import RunProgress

_STANDARD_INPUT: Final = "-"


@click.command("run")
@click.argument("request_file", metavar="REQUEST", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for outputs that are returned as files: large ones, videos, and all of them without --json.",
)
@handling_options
@gcs_options
@json_option
@click.pass_context
def run(
    context: click.Context,
    request_file: Path,
    output_dir: Path | None,
    url: str | None,
    timeout: float,
    allow_private: bool,
    lock: str | None,
    as_json: bool,
    open_store: Callable[[], GcsStore | None],
) -> None:
    """Run the workflow of REQUEST, a JSON file, on a running ComfyUI, and return its outputs.

    REQUEST holds `workflow` in API format, and optionally `images` or `inputs`; `-` reads it from standard input.
    Exits with 1 when there are no outputs, whatever the reason; Ctrl-C cancels the workflow.

    \b
    Examples:
      comfywatchman handler run request.json --output-dir outputs
      comfywatchman handler run request.json --json --url http://127.0.0.1:8288
    """
    import signal

    from comfywatchman.base.errors import Failure
    from comfywatchman.base.stop import StopEvent
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.handler.handle import HandlerOptions, handle_request, ignore_progress, refuse_private
    from comfywatchman.handler.request import OutputMode, parse_request

    request = parse_request(_read_request(request_file))
    version = read_version_name(context.obj, lock)
    store = open_store()
    if output_dir is None and store is None and not as_json:
        raise click.UsageError("Name a place for the outputs (--output-dir, --gcs-bucket), or print JSON (--json).")
    own_mode = OutputMode.GCS if store is not None else OutputMode.FILE
    with StopEvent() as stop:
        stop.set_on_signals(signal.SIGINT, signal.SIGTERM)
        options = HandlerOptions(
            url=url or context.obj.settings.comfyui.url,
            output_folder=output_dir,
            limit_seconds=timeout,
            may_be_private=allow_any if allow_private else refuse_private,
            is_cancelled=stop.is_set,
            show_progress=ignore_progress if as_json else _build_progress(),
            store=store,
            mode=None if as_json else own_mode,
            version=version,
        )
        try:
            result = handle_request(request, options)
        except Failure:
            if stop.is_set():
                raise click.Abort from None
            raise
    if as_json:
        print_json(**result)
    else:
        _print_outputs(result["outputs"], only_links=store is not None)
    context.exit(DONE)


def _read_request(path: Path) -> bytes:
    import sys

    from comfywatchman.base.files import read_regular
    from comfywatchman.handler.request import MAX_REQUEST_BYTES

    if str(path) == _STANDARD_INPUT:
        # One byte more shows that it is too large.
        return sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    return read_regular(path, max_bytes=MAX_REQUEST_BYTES)


def _build_progress() -> Callable[[RunProgress], None]:
    """Return a function that prints the progress on standard error when another node begins."""
    from comfywatchman.base.text import pluralize
    from comfywatchman.cli.render import printable

    last = ""

    def show(progress: RunProgress) -> None:
        nonlocal last
        text = ""
        if progress.node_id is not None:
            text = f"Running node {progress.node_id}"
        elif progress.prompts_ahead:
            text = f"Waiting for {pluralize(progress.prompts_ahead, 'prompt')} in ComfyUI's queue"
        if text and text != last:
            last = text
            click.echo(f"{printable(text)} …", err=True)

    return show


def _print_outputs(outputs: list[dict[str, Any]], *, only_links: bool) -> None:
    from comfywatchman.base.text import format_size
    from comfywatchman.cli.render import print_table, printable

    if only_links:
        # One a line, for scripts.
        for output in outputs:
            click.echo(printable(output["data"]))
        return
    rows = []
    for output in outputs:
        size = format_size(output["size_bytes"]) if "size_bytes" in output else ""
        rows.append((output["node_id"], output["kind"], output["mime"], size, output["data"]))
    print_table(("Node", "Kind", "Type", "Size", "Output"), rows, whole="Output")
