"""`comfywatchman handler`: the group of its commands."""

from __future__ import annotations

from typing import Final

import click

from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.options import CONTEXT_SETTINGS

COMMANDS: Final = {
    "run": "comfywatchman.cli.handler.run:run",
    "runpod": "comfywatchman.cli.handler.runpod:runpod",
    "serve": "comfywatchman.cli.handler.serve:serve",
}


@click.group(cls=LazyGroup, locations=COMMANDS, context_settings=CONTEXT_SETTINGS)
def handler() -> None:
    """Run workflows on a running ComfyUI for programs: one request in, one result out.

    A request holds a workflow in API format and its input files; the result holds the outputs, or the reason why there
    are none.

    \b
    Examples:
      comfywatchman handler run request.json --output-dir outputs
      comfywatchman handler run request.json --json
    """
