"""Whole runs of jobs: from the queue to the published outputs, the database and the moved file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution import worker as worker_module
from comfywatchman.jobs.execution.attempt import JobAttempt
from comfywatchman.jobs.execution.preview_file import find_preview
from comfywatchman.jobs.execution.services import WorkerServices
from comfywatchman.jobs.execution.worker import JobWorker
from comfywatchman.jobs.records import Actor, Interface, JobStatus, WaitCode, WaitReason
from tests.jobs.execution.sites import LIMIT_SECONDS, Site, build_name, open_site, wait_for

pytestmark = pytest.mark.slow

ACTOR = Actor("ann", Interface.CLI)
FOLDER = "image/T2I_20260131093000_1_cat"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as site:
        yield site


class LateClock(SystemClock):
    """The clock of this machine, on which a test lets time pass."""

    passed_seconds = 0.0

    def boottime(self) -> float:
        return super().boottime() + self.passed_seconds


@contextmanager
def run_aside(worker: JobWorker) -> Iterator[threading.Thread]:
    """Run the next job in a thread."""
    thread = threading.Thread(target=worker.run_once)
    thread.start()
    yield thread
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()


def test_job_is_done_once_and_published(site: Site) -> None:
    spec = site.add()
    with site.work() as worker:
        assert worker.run_once()
        assert not worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.run_count, job.retries_attempted) == (JobStatus.DONE, 1, 0)
    assert site.list_finished() == [f"{FOLDER}.yaml", f"{FOLDER}/cat.png", f"{FOLDER}/result.json"]
    assert not Path(spec.source_path).exists()
    assert [file["name"] for file in job.metadata["files"]] == ["cat.png"]
    assert worker.last_run is not None
    assert worker.last_run.status is JobStatus.DONE


def test_result_says_how_the_outputs_were_made(site: Site, tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(b"\x89PNG")
    site.add(inputs={"color": 7})
    model = {"name": "a.safetensors", "folder": "checkpoints", "sha256": "0" * 64}
    with site.work(WorkerServices(describe_models=lambda _prompt: (model,))) as worker:
        worker.run_once()
    result = site.read_result()
    run = result["runs"][0]
    assert run["inputs"] == {"color": 7}
    assert run["prompt"]["1"]["inputs"] == {"color": 7}
    assert run["prompt_id"] == site.server.ran[0]
    assert site.store.attempts(build_name(1))[0].prompt_ids == (run["prompt_id"],)
    assert result["models"] == [model]
    assert result["comfyui"]["version"] == "0.33.0"
    assert {"attempt": 1, "host": "here", "workflow_id": "picture"}.items() <= result.items()
    tag = site.server.history[run["prompt_id"]]["prompt"][3]["comfywatchman"]
    assert tag == {"job": build_name(1), "job_id": 1, "attempt": 1, "worker": site.worker_id}


def test_several_seeds_are_one_job_with_several_files(site: Site) -> None:
    site.add(repeats=({"color": 1}, {"color": 2}, {"color": 3}))
    with site.work() as worker:
        worker.run_once()
    assert [path for path in site.list_finished() if path.endswith(".png")] == [
        f"{FOLDER}/cat.png",
        f"{FOLDER}/cat_2.png",
        f"{FOLDER}/cat_3.png",
    ]
    assert [run["inputs"]["color"] for run in site.read_result()["runs"]] == [1, 2, 3]


@pytest.mark.parametrize("cache", ["empty", "old"])
def test_unchanged_prompt_is_never_done_with_nothing(site: Site, cache: str) -> None:
    site.server.faults.cache = cache
    for number in (1, 2):
        site.add("preview", number)
    with site.work() as worker:
        assert worker.run_once()
        assert worker.run_once()
    assert len([path for path in site.list_finished() if path.endswith(".png")]) == 2


def test_workflow_without_files_fails_at_once(site: Site) -> None:
    spec = site.add("text")
    with site.work() as worker:
        worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.error_code, job.run_count) == (JobStatus.FAILED, "jobs-no-output", 1)
    assert Path(spec.source_path).exists(), "the file of a failed job stays where it was dropped"


def test_failing_node_uses_up_the_retries(site: Site) -> None:
    spec = site.add("fail", retry_limit=2)
    with site.work() as worker:
        assert [worker.run_once() for _ in range(4)] == [True, True, True, False]
    job = site.store.get(spec.config_name)
    assert (job.status, job.run_count, job.retries_attempted) == (JobStatus.FAILED, 3, 2)
    assert job.error_trace == "TestFail: RuntimeError: made to fail"
    assert site.list_finished() == []


def test_refused_workflow_is_not_tried_again(site: Site) -> None:
    spec = site.add("unknown")
    with site.work() as worker:
        worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.error_code, job.run_count) == (JobStatus.FAILED, "jobs-refused", 1)


def test_unknown_workflow_of_an_old_job_fails_with_its_reason(site: Site) -> None:
    spec = site.add("gone", retry_limit=0)
    with site.work() as worker:
        worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "jobs-file-invalid")


def test_interrupted_job_keeps_its_retries(site: Site) -> None:
    spec = site.add("sleep")
    with site.work() as worker, run_aside(worker):
        site.interrupt()
    job = site.store.get(spec.config_name)
    assert (job.status, job.retries_attempted, job.run_count) == (JobStatus.PENDING, 0, 1)
    assert [run.outcome for run in site.store.attempts(spec.config_name)] == ["requeued"]


def test_job_that_ends_comfyui_twice_is_quarantined(site: Site) -> None:
    spec = site.add("sleep")
    site.add("picture", 2)

    with site.work() as worker:
        for status in (JobStatus.PENDING, JobStatus.QUARANTINED):
            with run_aside(worker):
                site.restart_comfyui()
            site.server.faults.no_history = False
            assert site.store.get(spec.config_name).status is status
        assert worker.run_once(), "the queue goes on"
    assert site.store.get(build_name(2)).status is JobStatus.DONE


def test_ordered_restart_is_not_held_against_the_job(site: Site) -> None:
    spec = site.add("sleep")
    with site.work(WorkerServices(was_restart_ordered=lambda _seconds: True)) as worker:
        for _ in range(2):
            with run_aside(worker):
                site.restart_comfyui()
            site.server.faults.no_history = False
            assert site.store.get(spec.config_name).status is JobStatus.PENDING


def test_cancelled_job_is_stopped_in_comfyui(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_BUSY_BEAT_SECONDS", 0.05)
    spec = site.add("sleep")
    with site.work() as worker, run_aside(worker):
        site.wait_until_running()
        assert worker.progress["job"] == spec.config_name
        site.store.cancel(spec.config_name, actor=ACTOR)
    assert site.store.get(spec.config_name).status is JobStatus.CANCELLED
    assert site.server.queued == []


def test_job_at_its_time_limit_is_stopped(site: Site) -> None:
    spec = site.add("sleep", deadline_seconds=0.1, retry_limit=0)
    with site.work() as worker:
        worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "jobs-deadline")
    assert site.server.queued == []


def test_stopped_agent_gives_its_job_back(site: Site) -> None:
    spec = site.add("sleep")
    stop_event = threading.Event()
    with site.work(stop_event=stop_event) as worker, run_aside(worker):
        site.wait_until_running()
        stop_event.set()
    job = site.store.get(spec.config_name)
    assert (job.status, job.retries_attempted) == (JobStatus.PENDING, 0)
    assert site.server.queued == []


def test_worker_without_heartbeat_stops_its_own_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_BUSY_BEAT_SECONDS", 0.05)
    spec = site.add("sleep")
    real_beat = site.store.beat
    is_cut = threading.Event()

    def beat(worker_id: str, *, progress: Any = None) -> bool:
        if is_cut.is_set():
            raise Failure("jobs-database-unavailable", "The database does not answer.")
        return real_beat(worker_id, progress=progress)

    monkeypatch.setattr(site.store, "beat", beat)
    clock = LateClock()
    with site.work(WorkerServices(clock=clock)) as worker, run_aside(worker):
        site.wait_until_running()
        is_cut.set()
        clock.passed_seconds = site.cfg.lease_seconds
        wait_for(lambda: not site.server.queued)
    # The worker of the site counts as alive for a minute, so its result is not refused.
    assert site.store.get(spec.config_name).status is JobStatus.PENDING
    assert site.list_finished() == []


def test_result_of_a_lost_lease_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = site.add()
    monkeypatch.setattr(site.store, "note_published", lambda _lease, _files: False)
    with site.work() as worker:
        worker.run_once()
    assert site.list_finished() == []
    assert site.store.get(spec.config_name).status is JobStatus.PENDING


def test_outputs_of_an_earlier_attempt_are_taken_over(site: Site) -> None:
    spec = site.add()
    with pytest.MonkeyPatch.context() as patch, site.work() as worker:
        # The worker ends between publishing and recording it.
        patch.setattr(site.store, "complete", lambda _lease, _outcome: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            worker.run_once()
    site.store.unregister_worker(site.worker_id)
    site.worker_id = site.store.register_worker("here", version="1")
    with site.work() as worker:
        assert worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.run_count) == (JobStatus.DONE, 2)
    assert len(site.server.ran) == 1, "ComfyUI is not asked again"
    assert site.list_finished() == [f"{FOLDER}.yaml", f"{FOLDER}/cat.png", f"{FOLDER}/result.json"]
    assert job.metadata["attempt"] == 1


def test_file_of_a_finished_job_is_moved_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = site.add()
    monkeypatch.setattr(worker_module, "move_job_file", lambda _job, _cfg: False)
    with site.work() as worker:
        worker.run_once()
        assert Path(spec.source_path).exists()
        assert worker.settle() == 1
        assert worker.settle() == 0
    assert not Path(spec.source_path).exists()


def test_prompts_of_others_are_waited_for_and_never_cancelled(site: Site) -> None:
    site.add()
    with site.work() as worker:
        foreign = worker._runner.client.submit({"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}).prompt_id
        site.wait_until_running()
        assert not worker.run_once()
        assert worker.wait_reason is not None
        assert worker.wait_reason.code is WaitCode.FOREIGN_PROMPTS
        assert site.server.queued == [foreign]
        site.interrupt()
        wait_for(lambda: not site.server.queued)
        assert worker.run_once()


def test_prompt_of_a_lost_run_is_cancelled_before_the_next(site: Site) -> None:
    spec = site.add("sleep")
    lease = site.store.lease_next(site.worker_id, lease_seconds=60, host="here")
    assert lease is not None
    with site.work() as worker:
        tag = {"job": spec.config_name, "job_id": lease.job.id, "attempt": 1, "worker": site.worker_id}
        worker._runner.client.submit(
            {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}, extra_data={"comfywatchman": tag}
        )
        assert not worker.run_once(), "its lease holds"
        site.store.unregister_worker(site.worker_id)
        worker.worker_id = site.store.register_worker("here", version="1")
        with run_aside(worker):
            wait_for(lambda: len(site.server.submitted) > 1)
            assert len(site.server.queued) == 1
            site.interrupt()
    assert site.store.get(spec.config_name).attempt == 2


def test_agent_waits_with_the_reason_of_the_host(site: Site) -> None:
    site.add()
    reason = WaitReason(WaitCode.CYCLE_RUNNING, "A readiness cycle runs.")
    with site.work(WorkerServices(reason_to_wait=lambda: reason)) as worker:
        assert not worker.run_once()
        assert worker.wait_reason == reason
        assert worker.progress == {"waits_for": "cycle-running", "reason": "A readiness cycle runs."}


def test_paused_queue_starts_nothing(site: Site) -> None:
    site.add()
    site.store.pause(actor=ACTOR)
    with site.work() as worker:
        assert not worker.run_once()
        assert worker.wait_reason is not None
        assert worker.wait_reason.code is WaitCode.PAUSED


def test_host_takes_only_workflows_that_are_ready(site: Site) -> None:
    site.add("sleep", 1)
    site.add("picture", 2)
    with site.work(WorkerServices(ready_workflows=lambda: frozenset({"picture"}))) as worker:
        assert [worker.run_once(), worker.run_once()] == [True, False]
    assert site.store.get(build_name(2)).status is JobStatus.DONE
    assert site.store.get(build_name(1)).status is JobStatus.PENDING


def test_absent_comfyui_costs_no_run(site: Site) -> None:
    spec = site.add()
    with site.work(comfyui_url="http://127.0.0.1:9") as worker:
        assert not worker.run_once()
        assert worker.wait_reason is not None
        assert worker.wait_reason.code is WaitCode.COMFYUI_AWAY
    assert site.store.get(spec.config_name).run_count == 0


def test_agent_older_than_the_database_takes_no_more_jobs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add()

    def lease_next(_worker_id: str, **_arguments: object) -> None:
        raise Failure("jobs-agent-older", "A newer version upgraded the database.", hint="Upgrade this agent.")

    monkeypatch.setattr(site.store, "lease_next", lease_next)
    with site.work() as worker:
        assert not worker.run_once()
        assert worker.wait_reason is not None
        assert worker.wait_reason.code is WaitCode.AGENT_OLDER


def test_forgotten_worker_registers_again(site: Site) -> None:
    site.add()
    site.store.unregister_worker(site.worker_id)
    with site.work() as worker:
        assert worker.run_once()
        assert worker.worker_id != site.worker_id


def test_defect_is_a_failed_run_of_one_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = site.add(retry_limit=0)
    monkeypatch.setattr(JobAttempt, "run", lambda _self: 1 / 0)
    with site.work() as worker:
        assert worker.run_once()
    job = site.store.get(spec.config_name)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "jobs-agent-broken")


def test_completion_waits_for_a_database_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_COMPLETE_PAUSE_SECONDS", 0.01)
    complete, failures = site.store.complete, iter(range(3))

    def complete_later(lease: Any, outcome: Any) -> Any:
        if next(failures, None) is not None:
            raise Failure("jobs-database-unavailable", "The database does not answer.")
        return complete(lease, outcome)

    monkeypatch.setattr(site.store, "complete", complete_later)
    spec = site.add()
    with site.work() as worker:
        worker.run_once()
    assert site.store.get(spec.config_name).status is JobStatus.DONE


def test_preview_of_the_running_job_is_kept_until_its_end(site: Site, tmp_path: Path) -> None:
    site.add("sleep")
    folder = tmp_path / "previews"
    with site.work(previews=folder) as worker, run_aside(worker):
        prompt_id = site.wait_until_running()
        metadata = json.dumps({"prompt_id": prompt_id, "node_id": "1", "image_type": "image/jpeg"}).encode()
        parts = (4).to_bytes(4, "big"), len(metadata).to_bytes(4, "big"), metadata, b"picture"
        site.server.send_bytes(b"".join(parts))
        wait_for(lambda: find_preview(folder, 1))
        assert (folder / "1.jpg").read_bytes() == b"picture"
        site.interrupt()
    assert list(folder.iterdir()) == []
