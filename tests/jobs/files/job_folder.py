"""A folder of job files with one workflow, for tests of the intake."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.clock import SystemClock
from comfywatchman.jobs.files.folders import ensure_media_folders
from comfywatchman.jobs.files.workflows import JobWorkflow, load_workflows
from comfywatchman.jobs.records import JobSpec, Upserted, UpsertOutcome
from comfywatchman.jobs.settings import JobSettings

NOW: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
NAME: Final = "T2I_20260131093000_1_fox.yaml"
GRAPH: Final[dict[str, Any]] = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 1, "steps": 20, "cfg": 7.5, "sampler_name": "euler", "model": ["4", 0]},
    },
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fox", "images": ["3", 0], "flag": False}},
}
WORKFLOWS: Final = """\
portrait:
  template_path: workflows/portrait.json
  required_inputs: [prompt]
  description: A picture
  inputs:
    prompt: {node: 6, field: text}
    negative: {node: "7", field: text}
    picture: {node: "9", field: picture, kind: file}
"""
JOB: Final = """\
job_type: T2I
workflow_id: portrait
inputs:
  prompt: a red fox
outputs:
  file_path: image/fox.png
"""


class FixedClock(SystemClock):
    """The clock of this machine with a fixed wall clock."""

    def __init__(self, moment: datetime = NOW) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@dataclass
class RecordingStore:
    """Keeps jobs in memory, with the rule of the database: a job that has ended does not change."""

    specs: dict[str, JobSpec] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def upsert(self, spec: JobSpec) -> Upserted:
        outcome = UpsertOutcome.UPDATED if spec.config_name in self.specs else UpsertOutcome.INSERTED
        if spec.config_name in self.ended:
            outcome = UpsertOutcome.IGNORED
        else:
            self.specs[spec.config_name] = spec
        return Upserted(list(self.specs).index(spec.config_name) + 1, outcome)

    def find_source_hashes(self, config_names: Collection[str]) -> Mapping[str, str]:
        return {name: self.specs[name].source_sha256 for name in config_names if name in self.specs}


@dataclass
class JobFolder:
    """Folders, settings and workflows of one job agent."""

    root: Path
    settings: JobSettings
    workflows: dict[str, JobWorkflow]

    @classmethod
    def create(cls, root: Path) -> JobFolder:
        (root / "config").mkdir()
        (root / "workflows").mkdir()
        (root / "workflows" / "portrait.json").write_text(json.dumps(GRAPH), "utf-8")
        workflows = root / "config" / "workflows.yaml"
        workflows.write_text(WORKFLOWS, "utf-8")
        settings = JobSettings(
            processing=root / "jobs" / "processing",
            finished=root / "jobs" / "finished",
            database_url=f"sqlite:///{root / 'jobs.db'}",
            workflows=workflows,
            global_config=root / "config" / "global_config.yaml",
        )
        ensure_media_folders([settings.processing, settings.finished], settings.media_of_type.values())
        return cls(root, settings, load_workflows(workflows))

    def write(
        self, text: str | bytes = JOB, name: str = NAME, *, media: str = "image", age_seconds: float = 60
    ) -> Path:
        """Write a job file as if that many seconds ago, as the clock of the tests sees it."""
        path = self.settings.processing / media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        moment = NOW.timestamp() - age_seconds
        os.utime(path, (moment, moment))
        return path
