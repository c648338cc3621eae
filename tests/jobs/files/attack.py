"""Write mutated job files into a queue and check that each gets exactly one answer and none is lost."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.global_config import load_global_config
from comfywatchman.jobs.files.intake import IntakeMemory, ScanStatus, scan_once
from comfywatchman.jobs.files.output_path import find_path_fault
from comfywatchman.jobs.files.payload import build_payload, find_input_problems
from comfywatchman.jobs.files.samples import write_samples
from comfywatchman.jobs.files.templates import load_template
from comfywatchman.jobs.files.workflows import JobWorkflow, load_workflows
from comfywatchman.jobs.records import JobSpec, decode_spec, encode_spec
from comfywatchman.jobs.settings import JobSettings
from tests.jobs.files.job_folder import FixedClock, RecordingStore
from tests.jobs.files.mutations import mutate, read_seeds
from tests.mutation import repeatable

LATER = FixedClock(FixedClock().moment.replace(year=2100))
MEDIA = {"T2I": "image", "T2V": "video", "SPEECH": "speech", "AUDIO": "audio", "3D": "3d"}


@dataclass
class Attack:
    """The outcome of an attack on the intake.

    Attributes:
        statuses: Number of files by status.
        scan_seconds: How long the scan of all mutated files took.
    """

    statuses: Counter[ScanStatus] = field(default_factory=Counter)
    scan_seconds: float = 0.0


def attack_intake(root: Path, *, count: int, seed: int) -> Attack:
    """Scan mutated files, then correct all of them and scan again; raise AssertionError on any fault."""
    settings = JobSettings(
        processing=root / "jobs" / "processing",
        finished=root / "jobs" / "finished",
        database_url="",
        workflows=root / "config" / "workflows.yaml",
        global_config=root / "config" / "global_config.yaml",
    )
    write_samples(root, settings)
    (settings.processing / "3d" / "chair.png").write_bytes(b"x")
    workflows = load_workflows(settings.workflows)
    originals = write_mutants(settings, count, repeatable(seed))
    store, memory, outcome = RecordingStore(), IntakeMemory(), Attack()

    started = time.monotonic()
    results = scan_once(settings, workflows, store, memory=memory, clock=LATER)
    outcome.scan_seconds = time.monotonic() - started
    assert sorted(result.path for result in results) == sorted(str(path) for path in originals)
    for result in results:
        outcome.statuses[result.status] += 1
        assert (result.status is ScanStatus.ACCEPTED) or result.reason, result
        assert (result.status is ScanStatus.ACCEPTED) == (result.config_name in store.specs), result
    for spec in store.specs.values():
        check_spec(spec, settings, workflows)

    for path, text in originals.items():
        path.write_text(text, "utf-8")
    for _ in range(2):
        scan_once(settings, workflows, store, memory=memory, clock=LATER)
    assert memory.list_refused() == []
    assert store.specs.keys() == {path.name for path in originals}
    return outcome


def attack_configuration(root: Path, *, count: int, seed: int) -> Counter[str]:
    """Read mutated configuration files and templates; raise anything but the errors that their readers promise."""
    chance = repeatable(seed)
    outcomes: Counter[str] = Counter()
    graphs = [json.loads(text) for text in read_seeds("workflows")]
    for _ in range(count):
        path = root / "mutant"
        reader = chance.choice((load_workflows, load_global_config, load_template))
        folder = "workflows" if reader is load_template else "config"
        path.write_bytes(mutate(chance.choice(read_seeds(folder)), chance))
        try:
            content = reader(path)
        except Failure:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        if reader is load_workflows:
            for entry in cast("dict[str, JobWorkflow]", content).values():
                list(find_input_problems("x", {"prompt": "x", "seed": 1}, entry, chance.choice(graphs)))
    return outcomes


def write_mutants(settings: JobSettings, count: int, chance: random.Random) -> dict[Path, str]:
    """Write mutated files under valid names; return the text that each was made of."""
    seeds = read_seeds()
    originals = {}
    for number in range(count):
        text = chance.choice(seeds)
        job_type = next(line for line in text.split("\n") if line.startswith("job_type:")).partition(": ")[2]
        path = settings.processing / MEDIA[job_type] / f"{job_type}_20260131093000_{number}_mutant.yaml"
        path.write_bytes(mutate(text, chance))
        originals[path] = text
    return originals


def check_spec(spec: JobSpec, settings: JobSettings, workflows: dict[str, JobWorkflow]) -> None:
    """Check that an accepted job can be stored and sent, and writes inside the finished tree only."""
    assert decode_spec(encode_spec(spec)) == spec
    assert find_path_fault(spec.output_path) == ""
    assert 1 <= spec.priority <= 999
    assert spec.retry_limit >= 0
    assert spec.command == ()
    assert all(Path(file.path).is_relative_to(settings.processing) for file in spec.input_files)
    for repeat in spec.repeats or ({},):
        graph = build_payload(spec.workflow_id, {**spec.inputs, **repeat}, workflows)
        assert all("class_type" in node for node in graph.values())
