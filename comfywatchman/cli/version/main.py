"""`comfywatchman version`: the group of its commands."""

from __future__ import annotations

from typing import Final

import click

from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.options import CONTEXT_SETTINGS

COMMANDS: Final = {
    "init": "comfywatchman.cli.version.init:init",
    "create": "comfywatchman.cli.version.create:create",
    "list": "comfywatchman.cli.version.show:list_versions",
    "show": "comfywatchman.cli.version.show:show",
    "verify": "comfywatchman.cli.version.verify:verify",
    "compare": "comfywatchman.cli.version.compare:compare",
    "clone": "comfywatchman.cli.version.clone:clone",
    "record": "comfywatchman.cli.version.references:record",
    "check": "comfywatchman.cli.version.references:check",
    "wheelhouse": "comfywatchman.cli.version.wheelhouse:wheelhouse",
    "remove": "comfywatchman.cli.version.remove:remove",
    "pin": "comfywatchman.cli.version.pin:pin",
}


@click.group(cls=LazyGroup, locations=COMMANDS, context_settings=CONTEXT_SETTINGS)
def version() -> None:
    """Freeze a working ComfyUI as a lock file, check it, and build it anew.

    A version records the commits of ComfyUI and its custom nodes, the Python packages with their hashes, and the models
    that the given workflows use.

    \b
    Examples:
      comfywatchman version create 2026-11 --workflow ~/workflows --require-ready
      comfywatchman version verify 2026-11
      comfywatchman version compare 2026-10 2026-11
    """
