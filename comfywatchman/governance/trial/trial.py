"""Set up a trial in a governed root: interpreter, nodes, folders and variables of a candidate."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from comfywatchman.base.config import comfyui_variables
from comfywatchman.base.gpu.query import GpuReading, read_gpus
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.trial.spec import TrialSpec
from comfywatchman.governance.uv.find_links import join_links

UV_CONFIG_FILE: Final = "gov-uv.toml"
"""The file in a candidate with the settings of uv that have no environment variable."""

_MIN_FREE_BYTES: Final = 2 << 30
_MAX_USED_FRACTION: Final = 0.25
"""A desktop uses some of a GPU. Higher use means a running job, whose memory a trial must not take."""


def build_trial_spec(
    context: GovContext,
    *,
    txid: str,
    node_id: str,
    environment: Path,
    nodes: Mapping[str, Path],
    timeout_seconds: float | None = None,
    read_gpu: Callable[[], GpuReading] = read_gpus,
) -> TrialSpec:
    """Return the trial of a node in a candidate environment, with the settings of the root.

    Args:
        context: The governed root.
        txid: The transaction; its logs are `state/logs/<txid>.stdout.log` and `.stderr.log`.
        node_id: The node under trial.
        environment: The candidate's folder.
        nodes: The folders of the enabled nodes by id; the one under trial is among them.
        timeout_seconds: The time that a start may take; None for the configured one.
        read_gpu: Reads the state of the GPUs.
    """
    layout, settings = context.layout, context.settings
    other_folders = [(name, folder) for name, folder in sorted(nodes.items()) if name != node_id]
    code_states = [(name, _read_code_state(folder)) for name, folder in other_folders]
    return TrialSpec(
        comfyui=context.comfyui,
        node_id=node_id,
        nodes=nodes,
        python=find_interpreter(environment),
        baseline_python=find_production_interpreter(layout),
        # A promotion or an edit of another node must invalidate the stored baseline.
        baseline_key=f"{generation.current_key(layout)} {code_states}",
        baseline_file=layout.root / "state" / "baseline.json",
        scratch=layout.work / f"trial-{txid}",
        stdout=layout.logs / f"{txid}.stdout.log",
        stderr=layout.logs / f"{txid}.stderr.log",
        timeout_seconds=settings.tx.timeout_seconds if timeout_seconds is None else timeout_seconds,
        probe=settings.tx.probe,
        extra_args=settings.run.extra_args,
        environment={
            **comfyui_variables(settings.run.environment),
            **build_installer_variables(settings.network),
            "UV_CONFIG_FILE": str(environment / UV_CONFIG_FILE),
        },
        use_cpu=lambda: needs_cpu(read_gpu()),
    )


def find_interpreter(environment: Path) -> Path:
    """Return the interpreter of an environment by the environment's real path.

    Its own link is not resolved: it leads to the base interpreter, which has none of the packages.
    """
    return environment.resolve() / "bin" / "python"


def find_production_interpreter(layout: GovLayout) -> Path | None:
    """Return the interpreter of the environment in production; None when there is none."""
    key = generation.current_key(layout)
    return None if key is None else find_interpreter(generation.environment_dir(layout, key))


def needs_cpu(reading: GpuReading) -> bool:
    """Return whether a trial must not use the GPU: there is none, its state is unknown, or it is in use."""
    if reading.status != "ok":
        return True
    # ComfyUI uses the first GPU unless it gets `--cuda-device`.
    first = reading.devices[0]
    if first.memory_free_bytes is None or first.memory_total_bytes is None:
        return True
    used_fraction = 1 - first.memory_free_bytes / max(1, first.memory_total_bytes)
    return first.memory_free_bytes < _MIN_FREE_BYTES or used_fraction > _MAX_USED_FRACTION


def build_installer_variables(network: NetworkTable) -> dict[str, str]:
    """Return the variables that make pip and uv, when a node calls them, use the index and cache of the root."""
    variables = {
        "PIP_INDEX_URL": network.index_url,
        "UV_DEFAULT_INDEX": network.index_url,
        # pip separates several values by spaces, uv by commas.
        "PIP_FIND_LINKS": join_links(network.find_links, " "),
        "UV_FIND_LINKS": join_links(network.find_links, ","),
        "UV_CACHE_DIR": network.cache_dir,
    }
    if network.no_index or network.offline:
        # uv has no variable for it: see `UV_CONFIG_FILE`.
        variables["PIP_NO_INDEX"] = "1"
    if network.offline:
        variables["UV_OFFLINE"] = "1"
    configured = {name: value for name, value in variables.items() if value}
    return {**configured, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def _read_code_state(folder: Path) -> tuple[int, int]:
    """Return the number of Python files in a node and the latest of their modification times, in nanoseconds."""
    if folder.is_file():
        return 1, folder.stat().st_mtime_ns
    times = []
    for parent, _folders, names in os.walk(folder):
        paths = [os.path.join(parent, name) for name in names if name.endswith(".py")]
        times += [os.stat(path, follow_symlinks=False).st_mtime_ns for path in paths]
    return len(times), max(times, default=0)
