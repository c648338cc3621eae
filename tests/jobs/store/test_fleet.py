from __future__ import annotations

import uuid

from comfywatchman.jobs.records import WaitCode
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import SPEC, build_name, build_spec, lease, move_clock, silence, start_worker


def test_each_start_gets_an_identity_of_its_own(store: JobStore) -> None:
    identities = {start_worker(store) for _ in range(3)}
    assert len(identities) == 3
    assert all(uuid.UUID(identity) for identity in identities)


def test_hosts_show_their_workers_and_readiness(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = store.register_worker("one", version="0.2", gpu="RTX 4090", lease_seconds=60)
    start_worker(store, "two")
    taken = lease(store, worker)
    store.beat(worker, progress={"node": "KSampler"})
    store.publish_readiness("one", {"sdxl": True, "flux": False}, {"flux": "model a.gguf is missing", "sdxl": "none"})
    first, second = store.list_hosts()
    assert (first.host, first.ready, first.reasons) == ("one", ("sdxl",), {"flux": "model a.gguf is missing"})
    assert first.published_at is not None
    (record,) = first.workers
    assert (record.worker_id, record.version, record.gpu) == (worker, "0.2", "RTX 4090")
    assert (record.is_alive, record.job_id, record.progress) == (True, taken.job.id, {"node": "KSampler"})
    assert (second.host, second.ready, second.published_at) == ("two", (), None)


def test_silent_worker_is_not_alive(store: JobStore) -> None:
    worker = start_worker(store)
    silence(store, worker, 61)
    assert [record.is_alive for record in store.list_hosts()[0].workers] == [False]
    store.beat(worker)
    assert [record.is_alive for record in store.list_hosts()[0].workers] == [True]


def test_heartbeat_without_progress_keeps_the_last_one(store: JobStore) -> None:
    worker = start_worker(store)
    store.beat(worker, progress={"value": 3})
    store.beat(worker)
    assert store.list_hosts()[0].workers[0].progress == {"value": 3}


def test_heartbeat_of_an_unknown_worker_is_refused(store: JobStore) -> None:
    worker = start_worker(store)
    store.unregister_worker(worker)
    assert not store.beat(worker)
    assert store.list_hosts() == ()


def test_published_readiness_replaces_the_earlier_one(store: JobStore) -> None:
    store.publish_readiness("one", {"a": True, "b": True, "c": False}, {"c": "x"})
    store.publish_readiness("two", {"a": True}, {})
    store.publish_readiness("one", {"b": False, "c": False}, {"b": "y", "c": "x"})
    one, two = store.list_hosts()
    assert (one.ready, one.reasons) == ((), {"b": "y", "c": "x"})
    assert two.ready == ("a",)


def test_same_readiness_again_only_renews_its_time(store: JobStore) -> None:
    store.publish_readiness("one", {"a": True}, {})
    move_clock(store, 600)
    store.publish_readiness("one", {"a": True}, {})
    (host,) = store.list_hosts()
    assert host.ready == ("a",)
    assert host.published_at is not None


def test_waiting_jobs_are_explained_by_the_hosts(store: JobStore) -> None:
    store.upsert(build_spec(1, workflow_id="flux"))
    store.upsert(build_spec(2, workflow_id="sdxl", priority=1))
    start_worker(store)
    store.publish_readiness("one", {"sdxl": True, "flux": False}, {"flux": "model a.gguf is missing"})
    waiting = store.explain_waiting()
    assert [item.reason.code for item in waiting] == [WaitCode.QUEUED, WaitCode.NO_HOST_READY]
    assert "model a.gguf is missing" in waiting[1].reason.sentence
    assert len(store.explain_waiting(limit=1)) == 1


def test_one_waiting_job_is_explained_wherever_it_stands(store: JobStore) -> None:
    for number, priority in enumerate([50, 1, 50, 60, 50]):
        store.upsert(build_spec(number, workflow_id="sdxl", priority=priority))
    worker = start_worker(store)
    sentences = [store.explain_job(build_name(number)) for number in range(5)]
    assert [reason.sentence for reason in sentences if reason] == [
        "1 job before it.",
        "It is next.",
        "2 jobs before it.",
        "4 jobs before it.",
        "3 jobs before it.",
    ]
    store.publish_readiness("one", {"sdxl": False}, {"sdxl": "model a.gguf is missing"})
    reason = store.explain_job(build_name(3))
    assert reason is not None
    assert reason.code is WaitCode.NO_HOST_READY
    lease(store, worker)
    assert store.explain_job(build_name(1)) is None
