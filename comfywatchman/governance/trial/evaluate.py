"""Judging a candidate by a real start of ComfyUI in it, held against one in production."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec

from comfywatchman.base.files import CorruptFile, read_state, to_json, write_atomic
from comfywatchman.governance.store.records import SCHEMA_VERSION, Judgement, RunLogs
from comfywatchman.governance.trial.outcome import StartOutcome
from comfywatchman.governance.trial.run import start_comfyui
from comfywatchman.governance.trial.spec import TrialSpec
from comfywatchman.governance.trial.verdict import build_judgement


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The last comparison start in production.

    Attributes:
        key: Hash over what it was made with: the state of production, the other nodes, ComfyUI's own `main.py` and
            arguments.
        started: What came of it.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    started: StartOutcome


def evaluate(bench: TrialSpec) -> tuple[Judgement, RunLogs]:
    """Start ComfyUI in the candidate and say how it went; nothing of it runs afterwards.

    Raises:
        Failure: `state-unwritable`: the logs or the scratch folder cannot be written.
    """
    try:
        bench.scratch.mkdir(parents=True, exist_ok=True)
        bench.stdout.parent.mkdir(parents=True, exist_ok=True)
        after = start_comfyui(bench, bench.python, bench.nodes, bench.scratch / "after", (bench.stdout, bench.stderr))
        before = _load_or_run_baseline(bench) if after.how == "server" else None
        judgement = build_judgement(bench.node_id, after, before)
        return judgement, RunLogs(stdout=str(bench.stdout), stderr=str(bench.stderr), run_exit_code=judgement.exit_code)
    finally:
        shutil.rmtree(bench.scratch, ignore_errors=True)


def _load_or_run_baseline(bench: TrialSpec) -> StartOutcome | None:
    """Return a start of production without the node under trial: the kept one while nothing has changed."""
    if bench.baseline_python is None:
        return None
    others = {name: folder for name, folder in bench.nodes.items() if name != bench.node_id}
    key = _hash_baseline_key(bench, others)
    kept = read_state(bench.baseline_file, Baseline)
    if kept is not None and not isinstance(kept, CorruptFile) and kept.key == key:
        return kept.started
    logs = bench.scratch / "before.out", bench.scratch / "before.err"
    started = start_comfyui(bench, bench.baseline_python, others, bench.scratch / "before", logs)
    if started.packs is not None:
        write_atomic(bench.baseline_file, to_json(Baseline(key=key, started=started)))
    return started


def _hash_baseline_key(bench: TrialSpec, others: dict[str, Path]) -> str:
    facts: tuple[object, ...] = (
        bench.baseline_key,
        str(bench.baseline_python),
        sorted((name, str(folder)) for name, folder in others.items()),
        bench.extra_args,
        str(bench.comfyui),
        bench.probe,
        _read_comfyui_mtimes(bench.comfyui),
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def _read_comfyui_mtimes(comfyui: Path) -> tuple[float, ...]:
    """Return when ComfyUI's own files last changed, as far as an update of it touches them."""
    names = ("main.py", "nodes.py", "comfyui_version.py")
    return tuple((comfyui / name).stat().st_mtime for name in names if (comfyui / name).is_file())
