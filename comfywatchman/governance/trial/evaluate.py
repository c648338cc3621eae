"""Evaluate a candidate: start ComfyUI in it, and compare with a baseline start in production."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.store.records import SCHEMA_VERSION, Judgement, RunLogs
from comfywatchman.governance.trial.outcome import StartOutcome
from comfywatchman.governance.trial.run import start_comfyui
from comfywatchman.governance.trial.spec import TrialSpec
from comfywatchman.governance.trial.verdict import build_judgement


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The last baseline start (`state/baseline.json`).

    Attributes:
        key: Hash over its inputs: the state of production, the other nodes, ComfyUI's files and arguments.
        started: Its outcome.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    started: StartOutcome


def evaluate(spec: TrialSpec) -> tuple[Judgement, RunLogs]:
    """Start ComfyUI in the candidate and judge the start; no process of it is left running.

    Raises:
        Failure: `state-unwritable`: the logs or the scratch folder cannot be written.
    """
    try:
        spec.scratch.mkdir(parents=True, exist_ok=True)
        spec.stdout.parent.mkdir(parents=True, exist_ok=True)
        # First: whether production starts without the node decides what a failure of the candidate means.
        production = spec if spec.baseline_comfyui is None else replace(spec, comfyui=spec.baseline_comfyui)
        before = _load_or_run_baseline(production)
        after = start_comfyui(spec, spec.python, spec.nodes, spec.scratch / "after", (spec.stdout, spec.stderr))
        judgement = build_judgement(spec.node_id, after, before)
        logs = RunLogs(stdout=str(spec.stdout), stderr=str(spec.stderr), run_exit_code=judgement.exit_code)
        return judgement, logs
    finally:
        shutil.rmtree(spec.scratch, ignore_errors=True)


def _load_or_run_baseline(spec: TrialSpec) -> StartOutcome | None:
    """Return a start in production without the node under trial; the stored one while nothing has changed."""
    if spec.baseline_python is None:
        return None
    key = _hash_baseline_key(spec)
    stored = read_state(spec.baseline_file, Baseline)
    if isinstance(stored, Baseline) and stored.key == key:
        return stored.started
    logs = spec.scratch / "before.out", spec.scratch / "before.err"
    outcome = start_comfyui(spec, spec.baseline_python, spec.other_nodes, spec.scratch / "before", logs)
    # A start that failed, or could not be queried, may succeed the next time.
    if outcome.packs is not None or (outcome.how == "exit" and outcome.has_started):
        write_atomic(spec.baseline_file, to_json(Baseline(key=key, started=outcome)))
    return outcome


def _hash_baseline_key(spec: TrialSpec) -> str:
    facts: tuple[object, ...] = (
        spec.baseline_key,
        str(spec.baseline_python),
        sorted((node_id, str(folder)) for node_id, folder in spec.other_nodes.items()),
        spec.extra_args,
        str(spec.comfyui),
        spec.probe,
        _read_comfyui_mtimes(spec.comfyui),
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def _read_comfyui_mtimes(comfyui: Path) -> tuple[float, ...]:
    """Return the modification times of files that every update of ComfyUI changes."""
    paths = (comfyui / name for name in ("main.py", "nodes.py", "comfyui_version.py"))
    return tuple(path.stat().st_mtime for path in paths if path.is_file())
