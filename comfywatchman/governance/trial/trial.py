"""A trial on governed ground: which environment, nodes, folders and variables a candidate is judged with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from comfywatchman.base.config import comfyui_variables
from comfywatchman.base.gpu.query import GpuReading, read_gpus
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Judgement, RunLogs
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.spec import TrialSpec

UV_CONFIG_FILE: Final = "gov-uv.toml"
"""The file in a candidate that tells a node's own calls of uv what no variable can say."""

_MIN_FREE_BYTES: Final = 2 << 30
_MAX_USED_FRACTION: Final = 0.25
"""A desktop uses some of a GPU; whoever uses more computes, and a trial must not take memory from it."""


class Judge(Protocol):
    """Starts ComfyUI in a candidate and says how it went (`trial.judge_candidate`)."""

    def __call__(
        self,
        ground: GovContext,
        *,
        txid: str,
        node_id: str,
        environment: Path,
        nodes: Mapping[str, Path],
        timeout_seconds: float | None = None,
    ) -> tuple[Judgement, RunLogs]:
        """Judge one candidate."""


def evaluate_candidate(
    ground: GovContext,
    *,
    txid: str,
    node_id: str,
    environment: Path,
    nodes: Mapping[str, Path],
    timeout_seconds: float | None = None,
    read: Callable[[], GpuReading] = read_gpus,
) -> tuple[Judgement, RunLogs]:
    """Start ComfyUI in a candidate environment with the node, and say how it went.

    Args:
        ground: The governed ground.
        txid: The transaction; its logs are `state/logs/<txid>.stdout.log` and `.stderr.log`.
        node_id: The node under trial.
        environment: The candidate's folder.
        nodes: The folders of the enabled nodes by id, the one under trial among them.
        timeout_seconds: How long a start may take; as configured when None.
        read: How the GPUs are asked.

    Raises:
        Failure: `state-unwritable`.
    """
    layout, key = ground.layout, generation.current_key(ground.layout)
    production = None if key is None else generation.environment_dir(layout, key)
    others = {name: folder for name, folder in nodes.items() if name != node_id}
    return evaluate(
        TrialSpec(
            comfyui=ground.comfyui,
            node_id=node_id,
            nodes=nodes,
            python=find_interpreter(environment),
            baseline_python=None if production is None else find_interpreter(production),
            baseline_key=f"{key} {sorted((name, _read_code_state(folder)) for name, folder in others.items())}",
            baseline_file=layout.root / "state" / "baseline.json",
            scratch=layout.work / f"trial-{txid}",
            stdout=layout.logs / f"{txid}.stdout.log",
            stderr=layout.logs / f"{txid}.stderr.log",
            timeout_seconds=ground.settings.tx.timeout_seconds if timeout_seconds is None else timeout_seconds,
            probe=ground.settings.tx.probe,
            extra_args=ground.settings.run.extra_args,
            environment={
                **comfyui_variables(ground.settings.run.environment),
                **build_installer_variables(ground),
                "UV_CONFIG_FILE": str(environment / UV_CONFIG_FILE),
            },
            use_cpu=lambda: needs_cpu(read()),
        )
    )


def find_interpreter(environment: Path) -> Path:
    """Return the interpreter of an environment by the environment's real path; the interpreter's own link stays."""
    return environment.resolve() / "bin" / "python"


def find_production_interpreter(layout: GovLayout) -> Path | None:
    """Return the interpreter of the environment in production; None when there is none."""
    key = generation.current_key(layout)
    return None if key is None else find_interpreter(generation.environment_dir(layout, key))


def needs_cpu(reading: GpuReading) -> bool:
    """Say whether a trial must leave the GPU alone: there is none, it does not answer, or somebody computes on it."""
    if reading.status != "ok":
        return True
    first = reading.devices[0]
    if first.memory_free_bytes is None or first.memory_total_bytes is None:
        return True
    used = 1 - first.memory_free_bytes / max(1, first.memory_total_bytes)
    return first.memory_free_bytes < _MIN_FREE_BYTES or used > _MAX_USED_FRACTION


def build_installer_variables(ground: GovContext) -> dict[str, str]:
    """Return the variables with which pip and uv, called by a node, use the root's index and cache."""
    options = ground.settings.network
    links = " ".join(options.find_links)
    wanted = {
        "PIP_INDEX_URL": options.index_url,
        "UV_DEFAULT_INDEX": options.index_url,
        "PIP_FIND_LINKS": links,
        "UV_FIND_LINKS": ",".join(options.find_links),
        "PIP_NO_INDEX": "1" if options.no_index or options.offline else "",
        "UV_OFFLINE": "1" if options.offline else "",
        "UV_CACHE_DIR": options.cache_dir,
    }
    return {
        **{name: text for name, text in wanted.items() if text},
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
    }


def _read_code_state(folder: Path) -> tuple[int, int]:
    """Return how many Python files a node has and when the last of them changed, in nanoseconds."""
    times = [
        os.stat(os.path.join(place, name), follow_symlinks=False).st_mtime_ns
        for place, _folders, names in os.walk(folder)
        for name in names
        if name.endswith(".py")
    ]
    return len(times), max(times, default=0)
