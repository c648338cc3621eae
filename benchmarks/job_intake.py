"""Time the intake of job files: new files, files that did not change, and a restart of the agent.

python -m benchmarks.job_intake [--files 20000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from comfywatchman.jobs.files.intake import IntakeMemory, scan_once
from comfywatchman.jobs.files.samples import write_samples
from comfywatchman.jobs.files.workflows import load_workflows
from comfywatchman.jobs.settings import JobSettings
from comfywatchman.jobs.store.job_store import open_store

JOB = """\
job_type: T2I
workflow_id: text-to-image
inputs:
  prompt: a red fox in the snow
  seed: 5
outputs:
  file_path: image/fox.png
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the intake of job files.")
    parser.add_argument("--files", type=int, default=20_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        settings = JobSettings(
            processing=root / "jobs" / "processing",
            finished=root / "jobs" / "finished",
            database_url=f"sqlite:///{root / 'jobs.db'}",
            workflows=root / "config" / "workflows.yaml",
            global_config=root / "config" / "global_config.yaml",
            poll_interval_seconds=0.0,
        )
        write_samples(root, settings)
        workflows = load_workflows(settings.workflows)
        for number in range(count):
            (settings.processing / "image" / f"T2I_20260131093000_{number}_fox.yaml").write_text(JOB, "utf-8")
        with open_store(settings.database_url) as store:
            memory = IntakeMemory()
            figures = {"files": count}
            for step, used in (("new", memory), ("unchanged", memory), ("restart", IntakeMemory())):
                started = time.process_time()
                scan_once(settings, workflows, store, memory=used)
                figures[f"{step}_cpu_us_per_file"] = round((time.process_time() - started) / count * 1e6)
            figures["pending"] = store.stats().total_jobs
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
