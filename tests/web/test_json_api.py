from __future__ import annotations

import pytest

from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker
from tests.web.site import Site


def fail(store: JobStore, number: int) -> str:
    worker = start_worker(store)
    (name,) = add_jobs(store, [number], retry_limit=0)
    store.complete(lease(store, worker), AttemptOutcome(False, "node-error", "boom", retryable=False))
    return name


def test_health_answers(site: Site) -> None:
    assert site.guest.get("/health").json()["status"] == "ok"


def test_queue_is_listed_and_filtered(site: Site) -> None:
    failed = fail(site.store, 1)
    add_jobs(site.store, [2, 3])
    assert len(site.guest.get("/api/queue").json()["jobs"]) == 3
    jobs = site.guest.get("/api/queue", params={"status": "failed"}).json()["jobs"]
    assert [job["config_name"] for job in jobs] == [failed]
    assert len(site.guest.get("/api/queue", params={"limit": 1}).json()["jobs"]) == 1
    assert site.guest.get("/api/queue", params={"status": "lost"}).status_code == 422


def test_job_has_all_fields(site: Site) -> None:
    name = fail(site.store, 1)
    for given in (name, name.removesuffix(".yaml")):
        job = site.guest.get(f"/api/queue/{given}").json()
        assert (job["status"], job["error_trace"], job["run_count"]) == ("failed", "boom", 1)
        assert {"spec", "attempts", "audit", "start_time", "end_time", "duration", "metadata"} <= set(job)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", "/retry"), ("POST", "/god-mode"), ("PUT", "/priority")]
)
def test_unknown_job_is_not_found(site: Site, method: str, path: str) -> None:
    body = {"priority": 5} if method == "PUT" else None
    response = site.client.request(method, f"/api/queue/none{path}", json=body)
    assert response.status_code == 404
    assert response.json()["code"] == "jobs-job-unknown"


@pytest.mark.parametrize("priority", [0, 1000, -1, 1.5, "5", None, True, [1]])
def test_priority_out_of_range_is_rejected(site: Site, priority: object) -> None:
    (name,) = add_jobs(site.store, [1])
    response = site.client.put(f"/api/queue/{name}/priority", json={"priority": priority})
    assert response.status_code == 422
    assert site.store.get(name).priority == 50


def test_priority_is_persisted(site: Site) -> None:
    (name,) = add_jobs(site.store, [1])
    assert site.client.put(f"/api/queue/{name}/priority", json={"priority": 3}).json()["priority"] == 3
    assert site.store.get(name).priority == 3
    assert site.store.audit(name)[0].interface == "api"


def test_only_failed_jobs_are_retried_and_again_is_the_same(site: Site) -> None:
    name = fail(site.store, 1)
    for _ in range(2):
        response = site.client.post(f"/api/queue/{name}/retry")
        assert (response.status_code, response.json()["status"]) == (200, "pending")
    assert len(site.store.audit(name)) == 1
    lease(site.store, start_worker(site.store))
    assert site.client.post(f"/api/queue/{name}/retry").status_code == 409


def test_god_mode_puts_a_job_first(site: Site) -> None:
    add_jobs(site.store, [1, 2])
    assert site.client.post(f"/api/queue/{build_name(2)}/god-mode").json()["priority"] == 1
    assert site.store.list_jobs()[0].config_name == build_name(2)


def test_program_with_the_token_needs_no_origin(site: Site) -> None:
    (name,) = add_jobs(site.store, [1])
    token = site.secrets.create_token()
    site.guest.headers.pop("Origin")
    site.guest.headers.pop("Sec-Fetch-Site")
    response = site.guest.post(f"/api/queue/{name}/god-mode", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200


def test_stats_warn_of_a_long_queue(site: Site) -> None:
    stats = site.guest.get("/api/stats").json()
    assert stats["by_status"]["pending"] == 0
    assert stats["is_long"] is False
    assert stats["pending_warning"] == 1000


def test_api_is_described(site: Site) -> None:
    paths = site.guest.get("/api/openapi.json").json()["paths"]
    assert set(paths) == {
        "/health",
        "/api/queue",
        "/api/queue/{name}",
        "/api/queue/{name}/priority",
        "/api/queue/{name}/retry",
        "/api/queue/{name}/god-mode",
        "/api/stats",
    }


def test_unknown_address_of_the_api_is_not_found(site: Site) -> None:
    assert site.guest.get("/api/none").status_code == 404
