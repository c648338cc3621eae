"""The inputs of a trial: the node, interpreters, folders, time limits, arguments and variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.server.listening import find_free_port

MAX_LOG_BYTES: Final = 64 << 20
"""How much a start may print before it is ended, so that a node that prints in a loop cannot fill the disk."""


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """A candidate to be tried, and the folders that the trial may write to.

    Attributes:
        comfyui: The folder of `main.py`.
        node_id: The node under trial.
        nodes: The folders of the nodes that ComfyUI is started with, by id; the one under trial is among them.
        python: The candidate's interpreter, by the real path of its environment.
        baseline_python: Production's interpreter, by the real path of its environment; None when there is none.
        baseline_key: Identifies the state of production and of the other nodes. A stored baseline with the same key is
            reused.
        baseline_file: The file of the stored baseline.
        scratch: A private folder for everything that ComfyUI writes; it is deleted afterwards.
        stdout: The log of the standard output.
        stderr: The log of the standard error.
        timeout_seconds: The time that a start may take until it serves or exits.
        prompt_seconds: The time that the minimal prompt may take.
        probe: Whether a minimal prompt is run, and the model inputs of nodes are looked up.
        extra_args: The user's arguments of `main.py`; those that would lead out of the scratch folder are left out.
        environment: Variables for ComfyUI beyond the allow-list: proxy, certificates, package index.
        use_cpu: Returns, just before a start, whether the GPU must not be used.
        choose_port: Returns a free port of 127.0.0.1.
        max_log_bytes: The amount of output that a start may print.
        also_tried: Further nodes under trial, when several are tried together.
        baseline_comfyui: The folder of `main.py` in production; None when it is the same.
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
    baseline_comfyui: Path | None = None
    also_tried: frozenset[str] = frozenset()

    @property
    def other_nodes(self) -> dict[str, Path]:
        """The folders of the nodes without those under trial."""
        tried = {self.node_id, *self.also_tried}
        return {node_id: folder for node_id, folder in self.nodes.items() if node_id not in tried}
