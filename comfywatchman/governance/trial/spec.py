"""The facts that a trial is made of; whoever opens a trial gives them, and nothing here looks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.server.listening import find_free_port

MAX_LOG_BYTES: Final = 64 << 20
"""How much a start may print before it is ended; a disk is not filled by a node that prints in a loop."""


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """What is tried, with what, and where it may write.

    Attributes:
        comfyui: The folder of `main.py`.
        node_id: The node under trial.
        nodes: The folders of the nodes that ComfyUI is started with, by id; the one under trial among them.
        python: The candidate's interpreter, by the real path of its environment.
        baseline_python: Production's interpreter, by the real path of its environment; None when there is none.
        baseline_key: Names the state of production and of the other nodes: a kept comparison start with the same key
            is not made again.
        baseline_file: Where the comparison start is kept.
        scratch: A private folder; what ComfyUI writes goes there, and it is deleted afterwards.
        stdout: The log of the standard output.
        stderr: The log of the standard error.
        timeout_seconds: How long a start may take until it serves or ends.
        prompt_seconds: How long the minimal prompt may take.
        probe: Whether a minimal prompt is run and model folders are looked for.
        extra_args: A person's own arguments of `main.py`; those that would lead out of the scratch folder are left
            out.
        environment: Variables for ComfyUI beside the whitelist: proxy, certificates, package index.
        use_cpu: Says, just before a start, whether the GPU has to be left alone.
        choose_port: Gives a port of 127.0.0.1 that is free.
        max_log_bytes: How much a start may print.
    """

    comfyui: Path
    node_id: str
    nodes: Mapping[str, Path]
    python: Path
    baseline_python: Path | None
    baseline_key: str
    baseline_file: Path
    scratch: Path
    stdout: Path
    stderr: Path
    timeout_seconds: float
    prompt_seconds: float = 60.0
    probe: bool = True
    extra_args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    use_cpu: Callable[[], bool] = lambda: True
    choose_port: Callable[[], int] = find_free_port
    max_log_bytes: int = MAX_LOG_BYTES
