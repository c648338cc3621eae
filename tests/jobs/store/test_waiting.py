from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from comfywatchman.jobs.records import HostRecord, Job, JobStatus, WaitCode, WorkerRecord
from comfywatchman.jobs.store.waiting import NO_WORKER, PAUSED, Fleet, explain_job, explain_jobs
from tests.jobs.jobs import build_spec

NOW = datetime(2026, 11, 30, tzinfo=UTC)
WORKER = WorkerRecord(
    worker_id="w",
    host="one",
    version="1",
    gpu="",
    started_at=NOW,
    last_beat=NOW,
    is_alive=True,
    job_id=None,
    progress={},
)
HOST = HostRecord(
    "one", published_at=NOW, ready=("sdxl",), reasons={"flux": "model a.gguf is missing."}, workers=(WORKER,)
)


def build_job(number: int, workflow_id: str = "sdxl") -> Job:
    spec = build_spec(number, workflow_id=workflow_id)
    return Job(
        id=number,
        config_name=spec.config_name,
        job_type=spec.job_type,
        workflow_id=workflow_id,
        priority=50,
        status=JobStatus.PENDING,
        run_count=0,
        retries_attempted=0,
        retry_limit=2,
        attempt=0,
        start_time=None,
        end_time=None,
        duration=None,
        error_code=None,
        error_trace=None,
        metadata={},
        worker_id=None,
        host=None,
        lease_expires_at=None,
        created_at=NOW,
        updated_at=NOW,
        spec=spec,
    )


def explain(*workflows: str, hosts: tuple[HostRecord, ...], is_paused: bool = False) -> list[tuple[WaitCode, str]]:
    pending = [build_job(number, workflow_id) for number, workflow_id in enumerate(workflows)]
    waiting = explain_jobs(pending, Fleet(is_paused=is_paused, hosts=hosts))
    assert [item.job for item in waiting] == pending
    return [(item.reason.code, item.reason.sentence) for item in waiting]


def test_pause_comes_first() -> None:
    assert explain("sdxl", hosts=(), is_paused=True) == [(WaitCode.PAUSED, PAUSED.sentence)]


def test_queue_without_living_workers_waits_for_one() -> None:
    silent = replace(HOST, workers=(replace(WORKER, is_alive=False),))
    for hosts in [(), (silent,), (replace(HOST, workers=()),)]:
        assert explain("sdxl", hosts=hosts) == [(WaitCode.NO_WORKER, NO_WORKER.sentence)]


def test_workflow_that_no_host_can_run_names_the_reason_of_each() -> None:
    second = replace(HOST, host="two", reasons={})
    assert explain("flux", hosts=(HOST, second)) == [
        (
            WaitCode.NO_HOST_READY,
            "No host can run flux: one: model a.gguf is missing; two: it does not know the workflow.",
        )
    ]


def test_reasons_of_many_hosts_are_shortened() -> None:
    hosts = tuple(replace(HOST, host=f"h{number}") for number in range(5))
    ((_, sentence),) = explain("flux", hosts=hosts)
    assert sentence.endswith("; and 2 more hosts.")


def test_host_that_published_nothing_takes_every_job() -> None:
    open_host = replace(HOST, host="two", published_at=None, ready=(), reasons={})
    assert explain("flux", hosts=(HOST, open_host)) == [(WaitCode.QUEUED, "It is next.")]


def test_runnable_jobs_count_only_runnable_ones_before_them() -> None:
    assert explain("sdxl", "flux", "sdxl", "sdxl", hosts=(HOST,)) == [
        (WaitCode.QUEUED, "It is next."),
        (WaitCode.NO_HOST_READY, "No host can run flux: one: model a.gguf is missing."),
        (WaitCode.QUEUED, "1 job before it."),
        (WaitCode.QUEUED, "2 jobs before it."),
    ]


def test_one_job_is_explained_by_its_obstacle_or_its_place() -> None:
    fleet = Fleet(is_paused=False, hosts=(HOST,))
    assert explain_job(build_job(1), 7, fleet).sentence == "7 jobs before it."
    assert explain_job(build_job(1, "flux"), 7, fleet).code is WaitCode.NO_HOST_READY


def test_job_that_names_models_waits_for_a_host_with_them() -> None:
    key = "sdxl with 4.ckpt_name=b.gguf"
    job = replace(build_job(1), spec=build_spec(1, workflow_id="sdxl", readiness_key=key))
    lacking = replace(HOST, reasons={key: "b.gguf is missing"})
    reason = explain_job(job, 0, Fleet(is_paused=False, hosts=(lacking,)))
    assert reason.code is WaitCode.NO_HOST_READY
    assert reason.sentence == "No host can run sdxl with b.gguf: one: b.gguf is missing."
    able = replace(HOST, ready=("sdxl", key))
    assert explain_job(job, 0, Fleet(is_paused=False, hosts=(able,))).code is WaitCode.QUEUED


def test_job_that_names_new_models_waits_until_they_are_judged() -> None:
    key = "sdxl with 4.ckpt_name=b.gguf, 57:9.lora_name=styles/c, d.safetensors"
    job = replace(build_job(1), spec=build_spec(1, workflow_id="sdxl", readiness_key=key))
    lacking = replace(HOST, host="two", reasons={key: "b.gguf is missing"})
    reason = explain_job(job, 0, Fleet(is_paused=False, hosts=(lacking, HOST)))
    assert reason.code is WaitCode.NOT_JUDGED
    assert reason.sentence == "sdxl with b.gguf, styles/c, d.safetensors has not been judged yet on one."
    assert reason.next_step == "It is judged shortly, without anything to do."


def test_long_list_of_models_is_shown_without_its_hash() -> None:
    key = f"sdxl with 4.ckpt_name={'b' * 380}… 0123456789abcdef"
    job = replace(build_job(1), spec=build_spec(1, workflow_id="sdxl", readiness_key=key))
    sentence = explain_job(job, 0, Fleet(is_paused=False, hosts=(HOST,))).sentence
    assert sentence == f"sdxl with {'b' * 380}… has not been judged yet on one."
