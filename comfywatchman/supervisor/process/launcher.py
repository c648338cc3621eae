"""Builds the command that starts ComfyUI in an environment, and recognises ComfyUI-Manager's restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.process import build_child_environment
from comfywatchman.comfyui.server.command import build_environment, read_known_options
from comfywatchman.comfyui.server.listening import LOOPBACK
from comfywatchman.supervisor.process.child import StartCommand

SUPERVISED_VARIABLE: Final = "COMFYGIT_SUPERVISED"
"""Tells ComfyUI, and the panel in it, that exit statuses 42 and 43 are understood."""
SESSION_VARIABLE: Final = "__COMFY_CLI_SESSION__"
"""With it ComfyUI-Manager restarts by writing `<value>.reboot` and exiting with status 0, instead of by exec."""
_SESSION_NAME: Final = "comfy_session"
_LOOPBACK_ADDRESSES: Final = frozenset({LOOPBACK, "localhost", "0.0.0.0"})  # noqa: S104 - compared, not bound
"""Addresses of `--listen` with which a server can be reached at 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class ManagedEnvironment:
    """An environment that ComfyUI can be started in.

    Attributes:
        name: Its name.
        python: Its interpreter.
        comfyui: The folder of `main.py`.
        arguments: Arguments of `main.py` that belong to the environment.
        variables: Environment variables for ComfyUI, in addition to those that every child inherits.
    """

    name: str
    python: Path
    comfyui: Path
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def build_start(
    environment: ManagedEnvironment, metadata: Path, *, port: int, arguments: Sequence[str]
) -> StartCommand:
    """Return the command for an environment.

    Args:
        environment: The environment.
        metadata: The `.metadata` folder.
        port: The port to listen on; one among the arguments is overridden, for the supervisor watches this one.
        arguments: Further arguments of main.py. When they ask for other addresses than 127.0.0.1, it is added to them.
    """
    known = read_known_options(environment.comfyui)
    added = [*_add_loopback((*environment.arguments, *arguments)), f"--port={port}"]
    if known is not None and "--disable-auto-launch" in known:
        # Each restart would open another browser window.
        added.append("--disable-auto-launch")
    argv = [str(environment.python), str(environment.comfyui / "main.py"), *environment.arguments, *arguments, *added]
    variables = {
        **environment.variables,
        SUPERVISED_VARIABLE: "1",
        SESSION_VARIABLE: str(metadata / _SESSION_NAME),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    search_path = build_child_environment().get("PATH", "")
    return StartCommand(
        environment=environment.name,
        argv=tuple(argv),
        folder=environment.comfyui,
        variables=build_environment(environment.python, search_path, variables),
        port=port,
    )


def take_reboot_marker(metadata: Path) -> bool:
    """Return whether ComfyUI-Manager asked for a restart, and delete its marker."""
    marker = metadata / f"{_SESSION_NAME}.reboot"
    try:
        marker.unlink()
    except OSError:
        return False
    return True


def extract_port(arguments: Sequence[str], default: int) -> int:
    """Return the port among ComfyUI's arguments; the last one wins, as in argparse."""
    port = default
    for value in list_values("--port", arguments):
        if value.isdecimal() and 0 < int(value) < 1 << 16:
            port = int(value)
    return port


def has_tls(arguments: Sequence[str]) -> bool:
    """Return whether ComfyUI will answer over HTTPS only."""
    return bool(list_values("--tls-keyfile", arguments))


def list_values(option: str, arguments: Sequence[str]) -> list[str]:
    """Return the values of an option among arguments, in their order; empty text where it has none."""
    values: list[str] = []
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != option:
            continue
        following = arguments[index + 1] if index + 1 < len(arguments) else "-"
        if not equals and not following.startswith("-"):
            value = following
        values.append(value)
    return values


def _add_loopback(arguments: Sequence[str]) -> list[str]:
    """Return a `--listen` with 127.0.0.1 when the given one leaves it out: the supervisor asks the server there."""
    addresses = list_values("--listen", arguments)[-1:]
    # Without a value, ComfyUI listens on all addresses.
    if addresses in ([], [""]) or _LOOPBACK_ADDRESSES & set(addresses[0].split(",")):
        return []
    return [f"--listen={addresses[0]},{LOOPBACK}"]
