"""`comfywatchman handler runpod`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.handler.common import allow_any, gcs_options, handling_options, read_version_name

if TYPE_CHECKING:
    from comfywatchman.handler.gcs import GcsStore


@click.command("runpod")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for outputs that are returned as files, on the volume: large ones, and videos.",
)
@click.option("--start-timeout", default=600.0, show_default=True, help="Seconds that ComfyUI may take to start.")
@handling_options
@gcs_options
@click.pass_context
def runpod(
    context: click.Context,
    output_dir: Path | None,
    start_timeout: float,
    url: str | None,
    timeout: float,
    allow_private: bool,
    lock: str | None,
    open_store: Callable[[], GcsStore | None],
) -> None:
    """Take the jobs of a RunPod serverless endpoint and run them on a running ComfyUI, one after the other.

    Needs RunPod's package (extra `runpod`). Takes no job before ComfyUI has run a canary. A job that RunPod cancels is
    stopped in ComfyUI too; after a job that lost ComfyUI, RunPod replaces the worker.

    \b
    Examples:
      comfywatchman handler runpod --gcs-bucket pictures
      comfywatchman handler runpod --output-dir /runpod-volume/outputs
    """
    from comfywatchman.comfyui.server.canary import check_server
    from comfywatchman.handler.handle import HandlerOptions, refuse_private
    from comfywatchman.handler.readiness_probe import wait_until_ready
    from comfywatchman.handler.runpod_worker import start_worker

    options = HandlerOptions(
        url=url or context.obj.settings.comfyui.url,
        output_folder=output_dir,
        limit_seconds=timeout,
        may_be_private=allow_any if allow_private else refuse_private,
        store=open_store(),
        version=read_version_name(context.obj, lock),
    )
    wait_until_ready(lambda: check_server(options.url), limit_seconds=start_timeout)
    start_worker(options)
