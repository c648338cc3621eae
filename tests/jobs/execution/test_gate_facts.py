"""Readings of the gate: memory, disk, and whose the prompts in ComfyUI are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.probes import ComputeDevice, SystemStats
from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.jobs.execution.gate_facts import GateReader, find_available_vram
from comfywatchman.jobs.execution.services import WorkerServices
from comfywatchman.jobs.records import JobStatus
from tests.jobs.execution.sites import Site, build_name, open_site

SLEEP: dict[str, dict[str, Any]] = {"1": {"class_type": "TestSleep", "inputs": {"seconds": 60}}}


def read_others(site: Site, client: PromptClient, **changes: Any) -> int:
    reader = GateReader(replace(site.cfg, **changes), site.store, client, WorkerServices())
    return reader.read().other_prompts


def tag(site: Site, **changes: Any) -> dict[str, Any]:
    facts = {"job": build_name(1), "job_id": 1, "attempt": 1, "worker": site.worker_id, **changes}
    return {"comfywatchman": facts}


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (ComputeDevice("cpu", "cpu", 8, 4), None),
        (ComputeDevice("cuda", "a", 24, None), None),
        (ComputeDevice("cuda", "a", 24, 4), 4),
        (ComputeDevice("cuda", "a", 24, 4, 16, 3), 17),
        (ComputeDevice("cuda", "a", 24, 4, 1, 3), 4),
    ],
)
def test_own_models_of_comfyui_count_as_available(device: ComputeDevice, expected: int | None) -> None:
    assert find_available_vram(SystemStats(None, (), (device,))) == expected


def test_memory_is_read_only_when_it_has_a_limit(tmp_path: Path) -> None:
    with open_site(tmp_path, device="cuda") as site, PromptClient(site.server.url) as client:
        reader = GateReader(site.cfg, site.store, client, WorkerServices())
        assert reader.read().vram_available_bytes is None
        reader = GateReader(replace(site.cfg, min_free_vram_gb=1), site.store, client, WorkerServices())
        assert reader.read().vram_available_bytes == 4


def test_folder_that_cannot_be_written_is_seen(tmp_path: Path) -> None:
    with open_site(tmp_path) as site, PromptClient(site.server.url) as client:
        (tmp_path / "file").write_bytes(b"")
        cfg = replace(site.cfg, finished=tmp_path / "file" / "finished")
        facts = GateReader(cfg, site.store, client, WorkerServices()).read()
    assert facts.output_problem is not None
    assert facts.free_disk_bytes is None


def test_disk_is_not_probed_at_each_reading(tmp_path: Path) -> None:
    with open_site(tmp_path) as site, PromptClient(site.server.url) as client:
        reader = GateReader(site.cfg, site.store, client, WorkerServices())
        first = reader.read().free_disk_bytes
        assert first is not None
        reader._cfg = replace(site.cfg, finished=tmp_path / "elsewhere")
        assert reader.read().free_disk_bytes == first


@pytest.mark.parametrize(
    "changes",
    [
        {"job": "T2I_20260131093000_9_none.yaml"},
        {"job_id": 2},
        {"worker": "another agent"},
        {"attempt": 9},
    ],
    ids=["unknown-job", "other-database", "other-worker", "other-attempt"],
)
def test_prompt_that_the_database_does_not_know_is_left_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    with open_site(tmp_path, dead_worker=True) as site, PromptClient(site.server.url) as client:
        site.add()
        assert site.store.lease_next(site.worker_id, lease_seconds=60, host="here") is not None
        client.submit(SLEEP, extra_data=tag(site, **changes))
        assert read_others(site, client) == 1
        assert len(site.server.queued) == 1


def test_prompt_of_a_running_job_is_waited_for(tmp_path: Path) -> None:
    with open_site(tmp_path, dead_worker=True) as site, PromptClient(site.server.url) as client:
        site.add()
        assert site.store.lease_next(site.worker_id, lease_seconds=60, host="here") is not None
        client.submit(SLEEP, extra_data=tag(site))
        assert read_others(site, client) == 1


def test_prompt_of_an_ended_run_is_cancelled(tmp_path: Path) -> None:
    with open_site(tmp_path, dead_worker=True) as site, PromptClient(site.server.url) as client:
        site.add()
        assert site.store.lease_next(site.worker_id, lease_seconds=60, host="here") is not None
        site.store.unregister_worker(site.worker_id)
        site.store.recover_orphans()
        assert site.store.get(build_name(1)).status is JobStatus.PENDING
        client.submit(SLEEP, extra_data=tag(site))
        foreign = client.submit(SLEEP).prompt_id
        assert read_others(site, client) == 1
        assert site.server.queued == [foreign]


@pytest.mark.slow
def test_prompt_of_an_ended_run_that_does_not_stop_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfywatchman.jobs.execution.gate_facts._CANCEL_SECONDS", 0.1)
    with open_site(tmp_path, ignored_interrupts=1000) as site, PromptClient(site.server.url) as client:
        site.add()
        assert site.store.lease_next(site.worker_id, lease_seconds=60, host="here") is not None
        site.store.unregister_worker(site.worker_id)
        site.store.recover_orphans()
        client.submit(SLEEP, extra_data=tag(site))
        site.wait_until_running()
        assert read_others(site, client) == 1


def test_database_that_is_away_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_site(tmp_path, dead_worker=True) as site, PromptClient(site.server.url) as client:
        client.submit(SLEEP, extra_data=tag(site))

        def get(_name: str) -> None:
            raise Failure("jobs-database-unavailable", "The database does not answer.")

        monkeypatch.setattr(site.store, "get", get)
        with pytest.raises(Failure) as caught:
            read_others(site, client)
    assert caught.value.code == "jobs-database-unavailable"
