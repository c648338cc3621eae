"""Workflows that change, disappear or cannot be read during a cycle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.readiness.cycle import CycleResult, run_cycle
from comfywatchman.readiness.sample.workflows import build_png_with_text
from comfywatchman.readiness.status import WorkflowEntry
from comfywatchman.readiness.workflows.discovery import WatchedRoot
from tests.hosts import Host, graph


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def cycle_with(host: Host, change: Callable[[], object], *, at: str = "verdicts") -> CycleResult:
    """Run a cycle and apply a change when a phase begins."""

    def progress(phase: str) -> None:
        if phase == at:
            change()

    return run_cycle(host.request(progress=progress))


def entries(result: CycleResult) -> dict[str, WorkflowEntry]:
    assert result.status is not None
    return {os.path.basename(entry.path): entry for entry in result.status.workflows}


@pytest.mark.slow
def test_file_changed_after_acknowledgement_is_judged_as_read(host: Host) -> None:
    path = host.write("a.json")
    result = cycle_with(host, lambda: path.write_bytes(graph(lora="x.safetensors")))
    assert entries(result)["a.json"].status == "READY"
    assert host.entry("a.json").status == "MISSING"


@pytest.mark.slow
def test_file_changed_before_judging_waits_for_the_next_cycle(host: Host) -> None:
    # Its facts are lost with the database, and the file has another content by the time it is read again.
    path = host.write("a.json")
    host.cycle()
    for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
        (host.home / "state" / name).unlink(missing_ok=True)
    result = cycle_with(host, lambda: path.write_bytes(graph(lora="x.safetensors")))
    entry = entries(result)["a.json"]
    assert (entry.status, entry.problems[0].code) == ("UNCERTAIN", "file-changed")
    assert "changed while it was read" in entry.problems[0].message
    assert host.entry("a.json").status == "MISSING"


def test_file_deleted_before_reading_is_in_no_report(host: Host) -> None:
    path = host.write("a.json")
    host.write("b.json", lora="x.safetensors")
    result = cycle_with(host, path.unlink)
    assert result.record.success
    assert list(entries(host.cycle())) == ["b.json"]


def test_unopenable_file_is_reported_and_not_acknowledged(host: Host) -> None:
    root = host.folder / "w"
    host.roots = (WatchedRoot(root, "w"),)
    root.mkdir()
    (root / "a.json").symlink_to("/proc/self/mem")  # stat says a regular file, and reading it fails even for root
    result = host.cycle()
    entry = entries(result)["a.json"]
    assert (entry.status, entry.intake, entry.sha256) == ("UNCERTAIN", None, None)
    assert entry.obstacle == Obstacle(ObstacleKind.UNREADABLE, entry.path, "Input/output error")
    assert result.record.unknown_workflows == 1
    assert host.intake() == []


def test_each_file_has_one_entry_in_path_order(host: Host) -> None:
    for name in ("b.json", "a.json", "sub/c.json", "B.json"):
        host.write(name)
    paths = [entry.path for entry in host.status().workflows]
    assert paths == sorted(paths)
    assert len(set(paths)) == 4


@pytest.mark.slow
def test_source_label_survives_renaming_the_root(host: Host) -> None:
    host.write("a.json")
    host.roots = (WatchedRoot(host.workflows, "first"),)
    host.cycle()
    host.roots = (WatchedRoot(host.workflows, "second"),)
    entry = host.entry("a.json")
    assert entry.source == "first"
    host.write("a.json", lora="x.safetensors")
    assert host.entry("a.json").source == "second"


@pytest.mark.parametrize("order", [("good.json", "copy.png"), ("copy.png", "good.json")])
@pytest.mark.slow
def test_verdict_belongs_to_the_file_and_not_to_its_bytes(host: Host, order: tuple[str, str]) -> None:
    for name in order:
        host.write(name)
        host.cycle()
    for _ in range(2):
        status = {os.path.basename(entry.path): entry for entry in host.status().workflows}
        assert (status["good.json"].status, status["good.json"].container) == ("READY", "json")
        assert (status["copy.png"].status, status["copy.png"].container) == ("INVALID", "png")
        assert "copy.png" not in status["copy.png"].problems[0].message
    (host.workflows / "copy.png").unlink()
    assert host.entry("good.json").status == "READY"


def test_copies_in_other_containers_have_their_own_hash_and_container(host: Host) -> None:
    files = {"a.json": graph(), "b.png": build_png_with_text("workflow", graph()), "c.json": graph()}
    for name, content in files.items():
        host.write(name, content)
    for entry in host.status().workflows:
        name = os.path.basename(entry.path)
        assert (entry.status, entry.container) == ("READY", name.rpartition(".")[2])
        assert entry.sha256 == hashlib.sha256(files[name]).hexdigest()


@pytest.mark.slow
def test_raised_size_limit_is_used_at_once(host: Host) -> None:
    host.set(workflows__max_file_mb=1)
    host.write("a.json", b" " * (1 << 20) + graph())
    assert host.entry("a.json").status == "INVALID"
    host.set(workflows__max_file_mb=2)
    assert host.entry("a.json").status == "READY"


@pytest.mark.slow
def test_hashes_of_older_versions_are_replaced_without_an_acknowledgement(host: Host) -> None:
    path = host.write("a.png", build_png_with_text("workflow", graph()))
    host.write("b.json", lora="x.safetensors")
    host.cycle()
    state = json.loads(host.layout.known_workflows.read_bytes())
    del state["hash_of"]
    state["workflows"][str(path)]["sha256"] = hashlib.sha256(graph()).hexdigest()
    host.layout.known_workflows.write_text(json.dumps(state))
    acknowledged = len(host.intake())
    entry = host.entry("a.png")
    assert (entry.status, entry.sha256) == ("READY", hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(host.intake()) == acknowledged
    assert host.cycle().record.read == 0
