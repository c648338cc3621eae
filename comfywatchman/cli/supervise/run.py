"""`comfywatchman supervise run`: start ComfyUI, and keep it running until stopped."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from comfywatchman.app.session import Session
from comfywatchman.base.clock import Clock, parse_utc
from comfywatchman.base.config import notify_socket_address
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import shorten_list
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import JSON_SCHEMA_VERSION, print_failure, print_step, printable
from comfywatchman.cli.supervise.common import describe_status, open_workspace, workspace_option
from comfywatchman.cli.supervise.live import format_elapsed, show_line
from comfywatchman.supervisor.mailbox import FINAL_SWITCH_STATES, read_switch_status
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus

if TYPE_CHECKING:
    from comfywatchman.supervisor.loop import Orchestrator
    from comfywatchman.supervisor.workspace import EnvironmentSet

ARGUMENTS_KEY: Final = "comfywatchman.supervise.arguments"


class RunCommand(click.Command):
    """A command that takes everything after `--` for ComfyUI; click itself would take the first word for ENV."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the arguments at `--`."""
        own, rest = args, []
        if "--" in args:
            index = args.index("--")
            own, rest = args[:index], args[index + 1 :]
        ctx.meta[ARGUMENTS_KEY] = tuple(rest)
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show ComfyUI's arguments in the usage."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGUMENTS...]"]


@click.command(cls=RunCommand)
@click.argument("name", metavar="[ENV]", required=False, shell_complete=complete_names("environment"))
@click.option("--environment", metavar="ENV", help="The environment, as ENV; for service files and the panel.")
@workspace_option
@json_option
@click.pass_context
def run(
    context: click.Context, name: str | None, environment: str | None, workspace: Path | None, as_json: bool
) -> None:
    """Start ComfyUI and keep it running, in the foreground.

    ENV is the environment to start; without it, the one in use. ARGUMENTS after -- are passed to ComfyUI's main.py.
    ComfyUI's own output is in its log (supervise logs). Ctrl-C and SIGTERM stop both. The program ends when ComfyUI
    ends by itself with status 0; it restarts ComfyUI after anything else. With --json, each state is one object per
    line.

    \b
    Examples:
      comfywatchman supervise run
      comfywatchman supervise run flux -- --listen 127.0.0.1 --lowvram
    """
    if name and environment and name != environment:
        raise click.UsageError("ENV and --environment name two environments.")
    session, environments = open_workspace(context, workspace)
    arguments: tuple[str, ...] = context.meta[ARGUMENTS_KEY]
    context.exit(run_supervisor(session, environments, name or environment, arguments, as_json=as_json))


def run_supervisor(
    session: Session,
    environments: EnvironmentSet,
    name: str | None,
    arguments: tuple[str, ...],
    *,
    as_json: bool = False,
) -> int:
    """Supervise ComfyUI in the foreground, and return the exit status.

    Args:
        session: The session.
        environments: The environments.
        name: The environment to start; the one in use when None.
        arguments: Arguments of ComfyUI's main.py.
        as_json: Whether to print states as JSON.

    Raises:
        Failure: `lock-held` when another supervisor runs, or as the first start.
    """
    from comfywatchman.supervisor.loop import Orchestrator
    from comfywatchman.supervisor.probes import choose_probes
    from comfywatchman.supervisor.publisher import ServiceNotifier
    from comfywatchman.supervisor.settings import build_settings

    initial = name or _find_current(environments)
    # A name that does not exist is refused before anything is written.
    environment = environments.get(initial)
    settings = build_settings(session.settings.supervisor, environment.arguments, arguments)
    view = StatusView(environments.metadata, session.clock, as_json=as_json)
    orchestrator = Orchestrator(
        environments.root,
        initial,
        arguments,
        probes=choose_probes(settings.health.kind),
        environments=environments,
        settings=settings,
        clock=session.clock,
        log=session.log,
        observers=(ServiceNotifier(notify_socket_address()), view),
    )
    _serve_control(orchestrator, session.clock)
    if not as_json:
        _print_start(environments, initial)
    with view.show():
        return orchestrator.run_forever()


def _find_current(environments: EnvironmentSet) -> str:
    """Return the environment in use; the only one when none is."""
    current = environments.current()
    if current is not None:
        return current
    names = environments.names()
    if len(names) == 1:
        return names[0]
    known = f"Name one of: {shorten_list(names)}" if names else "Create an environment first."
    raise Failure(
        "supervisor-environment-unknown",
        f"{printable_path(environments.root)} does not say which environment is in use.",
        hint=known,
    )


def _serve_control(orchestrator: Orchestrator, clock: Clock) -> None:
    from comfywatchman.supervisor.control import ControlServer

    try:
        server = ControlServer(orchestrator.metadata_dir, clock, ports=orchestrator.settings.control_ports)
    except Failure as failure:
        if failure.code != "supervisor-control-unavailable":
            raise
        # The commands do not need it, only the panel.
        click.echo("Warning: ComfyUI is supervised without the control interface.", err=True)
        print_failure(failure)
        return
    orchestrator.call_at_end(server.close)


def _print_start(environments: EnvironmentSet, name: str) -> None:
    from comfywatchman.supervisor.process.child import LOG_NAME

    click.echo(f"Supervising ComfyUI in {printable(name)}. Stop with Ctrl-C.")
    click.echo(f"Log: {printable_path(environments.metadata / LOG_NAME)}")


class StatusView:
    """Prints each new state, and on a terminal keeps the present one in the last line.

    Args:
        metadata: The `.metadata` folder.
        clock: The clocks.
        as_json: Whether to print JSON.
    """

    def __init__(self, metadata: Path, clock: Clock, *, as_json: bool) -> None:
        self._metadata = metadata
        self._clock = clock
        self._as_json = as_json
        self._last: SupervisorStatus | None = None

    def __call__(self, status: SupervisorStatus) -> None:
        """Take a published status."""
        last, self._last = self._last, status
        if last is not None and last.state is status.state:
            return
        # Whoever read the output may be gone; ComfyUI goes on.
        with contextlib.suppress(OSError):
            self._print(status)

    @contextlib.contextmanager
    def show(self) -> Iterator[None]:
        """Show the last line while the block runs."""
        with show_line(self.format_line, is_shown=not self._as_json):
            yield

    def _print(self, status: SupervisorStatus) -> None:
        if self._as_json:
            facts: dict[str, Any] = {"schema_version": JSON_SCHEMA_VERSION, "supervisor": describe_status(status)}
            click.echo(json.dumps(facts, sort_keys=True))
            return
        # Named, for click itself goes around the proxy that prints above the last line.
        click.echo(f"{status.looked_at} {status.state.value}: {printable(status.sentence)}", file=sys.stdout)
        if status.next_step:
            print_step(f"  {status.next_step}")

    def format_line(self) -> str:
        """Return the present state, and during a switch its progress."""
        status = self._last
        if status is None:
            return "Starting"
        elapsed = format_elapsed((self._clock.now() - parse_utc(status.since)).total_seconds())
        if status.state is SupervisorState.SWITCHING:
            switch = read_switch_status(self._metadata)
            if switch is not None and switch.state not in FINAL_SWITCH_STATES:
                return f"switching, {switch.progress} %: {switch.message}"
        return f"{status.state.value} for {elapsed} in {status.environment}, port {status.port}"
