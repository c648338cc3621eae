"""The command group `supervise`: run ComfyUI under supervision, and give orders to the supervisor."""

from __future__ import annotations

from typing import Final

import click

from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.options import CONTEXT_SETTINGS

COMMANDS: Final = {
    "run": "comfywatchman.cli.supervise.run:run",
    "status": "comfywatchman.cli.supervise.status:status",
    "restart": "comfywatchman.cli.supervise.restart:restart",
    "switch": "comfywatchman.cli.supervise.switch:switch",
    "abort": "comfywatchman.cli.supervise.abort:abort",
    "stop": "comfywatchman.cli.supervise.stop:stop",
    "logs": "comfywatchman.cli.supervise.logs:logs",
    "incidents": "comfywatchman.cli.supervise.incidents:incidents",
    "install-panel": "comfywatchman.cli.supervise.panel:install_panel_command",
}
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed or not ready, 2 usage, configuration or not found, 75 another supervisor runs, "
    "130 interrupted."
)


@click.group("supervise", cls=LazyGroup, locations=COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def supervise() -> None:
    """Keep ComfyUI running: restart it after a crash, switch environments, prove that it works.

    \b
    comfywatchman supervise run             start ComfyUI and watch it
    comfywatchman supervise status          does it work, and what to do if not
    comfywatchman supervise switch NAME     move to another environment, or back
    comfywatchman supervise incidents       why it was restarted
    """
