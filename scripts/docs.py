"""Write the parts of the documentation that are made from code: the JSON Schemas of the report and the state files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from comfywatchman.base.files import write_if_changed
from comfywatchman.base.gpu.hung_probe import HungProbe
from comfywatchman.base.host import SleepMark
from comfywatchman.base.lock import LockHolder
from comfywatchman.governance.checks.check_cache import CheckCacheFile
from comfywatchman.governance.environments.checkout import CheckoutChange
from comfywatchman.governance.store import conflict_records, records
from comfywatchman.governance.store.governed import GovernedComfyUI
from comfywatchman.governance.trial.evaluate import Baseline
from comfywatchman.governance.trial.production_start import ProductionStart
from comfywatchman.readiness.downloads.plan import DownloadPlan
from comfywatchman.readiness.downloads.queue import DownloadQueue
from comfywatchman.readiness.history import CycleRecord
from comfywatchman.readiness.models.cache_file import ModelCache
from comfywatchman.readiness.nodes.cache_file import PackCache
from comfywatchman.readiness.report.write import json_schema
from comfywatchman.readiness.scheduler.state import ScheduleState
from comfywatchman.readiness.search.decisions import Decisions
from comfywatchman.readiness.unfinished import RunningMark
from comfywatchman.readiness.workflows.intake_log import Acknowledgement
from comfywatchman.readiness.workflows.known_workflows import KnownWorkflows
from comfywatchman.versions.lockfile import VersionLock

REFERENCE: Final = Path(__file__).parents[1] / "docs" / "reference"
SCHEMAS: Final = REFERENCE / "schemas"

STATE_SHAPES: Final[dict[str, type[msgspec.Struct]]] = {
    "awake": SleepMark,
    "custom_nodes_cache": PackCache,
    "decisions": Decisions,
    "downloads": DownloadQueue,
    "gov_baseline": Baseline,
    "gov_checks": CheckCacheFile,
    "gov_comfyui": GovernedComfyUI,
    "gov_conflict": conflict_records.ConflictReport,
    "gov_generation": records.GenerationMark,
    "gov_journal": records.Journal,
    "gov_operation": records.Operation,
    "gov_plugins": records.NodeRegistry,
    "gov_snapshot": records.SnapshotMeta,
    "gov_snapshots_index": records.SnapshotsIndex,
    "gov_start": ProductionStart,
    "gov_checkout": CheckoutChange,
    "gov_transaction": records.Transaction,
    "history_line": CycleRecord,
    "intake_line": Acknowledgement,
    "hung_gpu_probe": HungProbe,
    "lock": LockHolder,
    "model_cache": ModelCache,
    "plan": DownloadPlan,
    "running_cycle": RunningMark,
    "scheduler": ScheduleState,
    "version_lock": VersionLock,
    "workflows": KnownWorkflows,
}


def pages() -> dict[Path, bytes]:
    """Return the content of each generated file."""
    schemas = {SCHEMAS / f"{name}.schema.json": state_schema(shape) for name, shape in STATE_SHAPES.items()}
    return {REFERENCE / "master_status.schema.json": json_schema(), **schemas}


def state_schema(shape: type[msgspec.Struct]) -> bytes:
    """Return the JSON Schema of one state file, or of one line of it."""
    schema: dict[str, Any] = msgspec.json.schema(shape)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


def main() -> None:
    """Write what has changed, and delete obsolete schemas."""
    made = pages()
    for path in SCHEMAS.glob("*.json"):
        if path not in made:
            path.unlink()
    for path, content in made.items():
        if write_if_changed(path, content):
            print(f"Written: {path.relative_to(REFERENCE.parents[1])}")


if __name__ == "__main__":
    main()
