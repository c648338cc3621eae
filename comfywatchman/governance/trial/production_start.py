"""Start ComfyUI in production once, and record whether it started: until then production is unproven."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.state.state_file import read_state, write_state
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.trial.run import start_comfyui
from comfywatchman.governance.trial.trial import build_trial_spec

_NAME: Final = "start-of-production"
_LOG_BYTES: Final = 1 << 20
_MISSING_MODULE: Final = re.compile(
    r"^(?:ModuleNotFoundError|ImportError): No module named '([A-Za-z0-9_]+)", re.MULTILINE
)


class ProductionStart(msgspec.Struct, frozen=True, kw_only=True):
    """`state/start.json`: the last start of ComfyUI in production, made by `gov init`.

    Attributes:
        generation: The environment.
        at: When it was started (UTC).
        has_started: Whether ComfyUI served or exited with status 0.
        reason: Why it did not start; empty when it did.
        missing_module: The module without which it did not start; None when that was not the reason.
        import_failures: Packs that could not be imported, each with the last line of its traceback.
        log: Its standard error.
    """

    schema_version: int = 1
    generation: str
    at: str
    has_started: bool
    reason: str = ""
    missing_module: str | None = None
    import_failures: dict[str, str] = {}
    log: str = ""


def prove_production(context: GovContext, nodes: Mapping[str, Path]) -> ProductionStart:
    """Start ComfyUI in production with these nodes, and record the outcome.

    Args:
        context: The governed root; its lock must be held.
        nodes: The folders of the nodes by id.

    Raises:
        Failure: `state-unwritable`, or `gov-not-initialised` without an environment in production.
    """
    layout = context.layout
    key = generation.current_key(layout)
    if key is None:
        raise Failure("gov-not-initialised", "There is no environment in production.", hint="Run: gov init")
    environment = generation.environment_dir(layout, key)
    spec = build_trial_spec(context, txid=_NAME, node_id="", environment=environment, nodes=nodes)
    try:
        spec.scratch.mkdir(parents=True, exist_ok=True)
        spec.stdout.parent.mkdir(parents=True, exist_ok=True)
        outcome = start_comfyui(spec, spec.python, nodes, spec.scratch / "base", (spec.stdout, spec.stderr))
    finally:
        shutil.rmtree(spec.scratch, ignore_errors=True)
    has_started = outcome.has_started
    start = ProductionStart(
        generation=key,
        at=format_utc(context.clock.now()),
        has_started=has_started,
        reason="" if has_started else clean_line(outcome.trouble or f"main.py exited with {outcome.exit_code}"),
        missing_module=None if has_started else find_missing_module(_read_end(spec.stderr)),
        import_failures=outcome.failures,
        log=str(spec.stderr),
    )
    write_state(layout.start, start)
    return start


def read_start(layout: GovLayout) -> ProductionStart | None:
    """Return the last start of the environment that is in production; None when it was never started by gov."""
    start = read_state(layout.start, ProductionStart, only_look=True)
    if isinstance(start, ProductionStart) and start.generation == generation.current_key(layout):
        return start
    return None


def find_missing_module(log: str) -> str | None:
    """Return the top-level module that a start did not find, from its log; None when that was not its last error."""
    missing = _MISSING_MODULE.findall(log)
    return missing[-1] if missing else None


def _read_end(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
