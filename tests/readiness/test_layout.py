"""Names of the files below the home folder; other programs and older versions rely on them."""

from __future__ import annotations

from pathlib import Path

from comfywatchman.base.config import Home
from comfywatchman.readiness.layout import ReadinessLayout

PATHS = {
    "database": "state/index.sqlite",
    "cycle_lock": "state/cycle.lock",
    "scheduler_lock": "state/scheduler.lock",
    "scheduler": "state/scheduler.json",
    "awake": "state/awake.json",
    "class_map": "state/class_map.msgpack",
    "class_map_folder": "state/class_map",
    "server_nodes": "state/server_nodes.msgpack",
    "known_workflows": "state/workflows.json",
    "intake_log": "state/intake_log.jsonl",
    "history": "state/history.jsonl",
    "running_cycle": "state/running_cycle.json",
    "hung_gpu_probe": "state/hung_gpu_probe.json",
    "model_cache": "state/model_cache.json",
    "pack_cache": "state/custom_nodes_cache.json",
    "model_catalogue": "state/model_catalogue.msgpack",
    "decisions": "state/decisions.json",
    "status_json": "output/reports/status/master_status.json",
    "status_markdown": "output/reports/status/master_status.md",
    "sample": "state/sample",
}


def test_files_keep_their_names() -> None:
    layout = ReadinessLayout(Home(Path("/home")))
    properties = [name for name, value in vars(ReadinessLayout).items() if isinstance(value, property)]
    paths = {name: getattr(layout, name) for name in properties}
    assert paths == {name: Path("/home") / path for name, path in PATHS.items()}
