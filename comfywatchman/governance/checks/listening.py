"""Check `listening`: can ComfyUI be reached from other machines?"""

from __future__ import annotations

from collections.abc import Sequence

from comfywatchman.comfyui.server.listening import Exposure, judge_exposures
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names


def judge(addresses: Sequence[str]) -> CheckResult:
    """Judge whether ComfyUI can be reached from other machines. ComfyUI has no login, and runs any code it is sent.

    Args:
        addresses: The addresses beyond loopback that it listens on.
    """
    if not addresses:
        return CheckResult(name=CHECK.name, status="ok", evidence="ComfyUI does not listen beyond this machine.")
    shown = shorten_names(sorted(addresses))
    return CheckResult(
        name=CHECK.name,
        status="warn",
        evidence=f"ComfyUI listens beyond this machine ({shown}): it has no login, and whoever "
        "reaches it can run code here.",
        action="Start it without --listen, or put a proxy with a login before it.",
        items=tuple(sorted(addresses)),
    )


def _run(context: CheckContext) -> CheckResult:
    return judge([_format_address(exposure) for exposure in judge_exposures(context.servers)])


def _format_address(exposure: Exposure) -> str:
    if exposure.port:
        return f"{exposure.address}:{exposure.port}"
    # The port of another user's process is unknown: its socket cannot be seen, only its arguments.
    return exposure.address


CHECK = Check("listening", _run)
