from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import add_jobs, build_name, build_spec, lease, start_worker
from tests.web.site import Site

pytestmark = pytest.mark.slow

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
    "\u202egnp.exe",
)


def fail(store: JobStore, numbers: list[int], text: str) -> None:
    worker = start_worker(store)
    add_jobs(store, numbers, retry_limit=0)
    for _ in numbers:
        store.complete(lease(store, worker), AttemptOutcome(False, "node-error", text, retryable=False))


def finish(site: Site, number: int, names: list[str], *, folder: Path | None = None) -> str:
    """Let a job end with outputs, and return its name."""
    worker = start_worker(site.store)
    (name,) = add_jobs(site.store, [number])
    place = folder or site.host.agent.settings.finished / "image" / str(number)
    place.mkdir(parents=True, exist_ok=True)
    for file in names:
        (place / file).write_bytes(b"content")
    files = [{"name": file, "size_bytes": 7} for file in names]
    site.store.complete(
        lease(site.store, worker), AttemptOutcome(True, metadata={"folder": str(place), "files": files})
    )
    return name


def test_queue_page_shows_each_part(site: Site) -> None:
    fail(site.store, [1, 2], "out of memory\nmore")
    worker = start_worker(site.store)
    add_jobs(site.store, [3, 4])
    taken = lease(site.store, worker)
    site.store.beat(worker, progress={"running": True, "node": "5", "value": 3, "maximum": 12})
    page = site.guest.get("/queue").text
    assert "out of memory <span" in page
    assert "Retry all 2" in page
    assert taken.job.config_name == build_name(3)
    assert "Step 3 of 12, node 5" in page
    assert "It is next." in page
    only = site.guest.get("/queue", params={"status": "waiting"}).text
    assert 'id="failed"' not in only
    assert "Show the next" not in only


def test_guest_sees_no_button_that_works(site: Site) -> None:
    add_jobs(site.store, [1])
    buttons = re.findall(
        r'<form method="post" action="/actions[^"]+">.*?<button([^>]*)>', site.guest.get("/queue").text, re.DOTALL
    )
    assert buttons
    assert all("disabled" in button for button in buttons)


@pytest.mark.parametrize("status", ["waiting", "done"])
def test_long_lists_come_in_pages(site: Site, status: str) -> None:
    add_jobs(site.store, range(1, 53))
    if status == "done":
        worker = start_worker(site.store)
        for _ in range(52):
            site.store.complete(lease(site.store, worker), AttemptOutcome(True))
    page = site.guest.get("/queue", params={"status": status}).text
    (link,) = re.findall(r'href="(/queue\?[^"]*after=[^"]*)"', page)
    rest = site.guest.get(link.replace("&amp;", "&")).text
    assert rest.count('<th scope="row"') == 2


def test_new_jobs_are_announced_and_rows_stay(site: Site) -> None:
    add_jobs(site.store, [1])
    page = site.guest.get("/queue").text
    (address,) = re.findall(r'id="live-fresh" hx-get="([^"]+)"', page)
    add_jobs(site.store, [2, 3])
    fresh = site.guest.get(address.replace("&amp;", "&")).text
    assert "2 new jobs. Show them" in fresh
    assert "<tr" not in fresh


def test_buttons_change_the_job(site: Site) -> None:
    (name,) = add_jobs(site.store, [1])
    page = site.client.post("/actions/queue/priority", data={"name": name, "priority": "7", "from": "waiting"})
    assert page.url.path == "/queue"
    assert "has priority 7." in page.text
    assert "has priority 7." not in site.client.get("/queue").text
    assert site.store.get(name).priority == 7
    site.client.post("/actions/queue/god-mode", data={"name": name})
    assert site.store.get(name).priority == 1
    page = site.client.post("/actions/queue/cancel", data={"name": name, "from": "job"})
    assert page.url.path == f"/queue/{name}"
    assert site.store.get(name).status is JobStatus.CANCELLED
    assert {entry.interface for entry in site.store.audit(name)} == {"web"}


def test_queue_is_paused_and_resumed(site: Site) -> None:
    assert "The queue is paused" in site.client.post("/actions/queue/pause", data={"from": "now"}).text
    assert site.store.is_paused()
    site.client.post("/actions/queue/resume", data={"from": "now"})
    assert not site.store.is_paused()


def test_bulk_retry_needs_the_number_that_was_shown(site: Site) -> None:
    fail(site.store, [1, 2], "boom")
    page = site.client.get("/queue").text
    form = re.search(r'action="/actions/queue/retry-all">(.*?)</form>', page, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[1]))
    refused = site.client.post("/actions/queue/retry-all", data={**fields, "expected": "3"})
    assert refused.status_code == 409
    assert "Nothing was changed" in refused.text
    assert site.client.post("/actions/queue/retry-all", data=fields).status_code == 200
    assert site.store.stats().by_status["pending"] == 2


def test_bulk_changes_of_waiting_jobs(site: Site) -> None:
    add_jobs(site.store, [1, 2])
    data = {"expected": "2", "priority": "9", "from": "waiting", "text": ""}
    assert site.client.post("/actions/queue/priority-all", data=data).status_code == 200
    assert site.store.get(build_name(2)).priority == 9
    assert site.client.post("/actions/queue/cancel-all", data=data).status_code == 200
    assert site.store.stats().by_status["cancelled"] == 2


@pytest.mark.parametrize("data", [{}, {"name": ""}, {"name": "none", "priority": "x"}])
def test_broken_forms_are_refused(site: Site, data: dict[str, str]) -> None:
    response = site.client.post("/actions/queue/priority", data={"x": "y", **data})
    assert response.status_code in {404, 422}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_errors_are_inert(site: Site, text: str) -> None:
    worker = start_worker(site.store)
    name = f"T2I_20261130120000_1_{text.replace('/', '')}.yaml"
    site.store.upsert(replace(build_spec(1), config_name=name, workflow_id=text, retry_limit=0))
    for address in ("/queue", f"/queue/{name.replace('%', '%25')}"):
        page = site.client.get(address, params={"text": ""}).text
        check_inert(page)
    site.store.complete(lease(site.store, worker), AttemptOutcome(False, text, text, retryable=False))
    for address in ("/", "/queue", "/queue?status=failed"):
        check_inert(site.client.get(address).text)
    check_inert(site.client.get("/queue", params={"text": text, "status": text}).text)
    check_inert(site.client.post("/sign-in", data={"code": text}).text)


def check_inert(page: str) -> None:
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "<svg onload" not in page
    assert not re.search(r'href="javascript:', page)


def test_outputs_are_shown_and_sent(site: Site) -> None:
    name = finish(site, 1, ["a.png", "b.mp4", "c.flac", "d.glb", "e.svg", "f.html"])
    page = site.guest.get(f"/queue/{name}")
    for element in ("<img ", "<video ", "<audio ", "<model-viewer "):
        assert page.text.count(element) == 1
    assert "unsafe-inline" in page.headers["content-security-policy"]
    picture = site.guest.get(f"/outputs/{name}/a.png")
    assert (picture.content, picture.headers["content-type"]) == (b"content", "image/png")
    for file in ("e.svg", "f.html"):
        sent = site.guest.get(f"/outputs/{name}/{file}")
        assert sent.headers["content-disposition"].startswith("attachment")
        assert sent.headers["content-type"] == "application/octet-stream"
        assert "sandbox" in sent.headers["content-security-policy"]


def test_only_reported_files_below_the_finished_folder_are_sent(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    name = finish(site, 1, ["a.png"])
    folder = site.host.agent.settings.finished / "image" / "1"
    (folder / "unreported.png").write_bytes(b"content")
    for file in ("unreported.png", "..%2f..%2f..%2fsecret.png", "%2e%2e", "a.png%00"):
        assert site.guest.get(f"/outputs/{name}/{file}").status_code == 404
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to(secret)
    assert site.guest.get(f"/outputs/{name}/a.png").status_code == 404
    other = finish(site, 2, ["secret.png"], folder=tmp_path)
    assert site.guest.get(f"/outputs/{other}/secret.png").status_code == 404


def test_page_without_models_keeps_the_strict_policy_in_its_scripts(site: Site) -> None:
    name = finish(site, 1, ["a.png"])
    assert "model-viewer" not in site.guest.get(f"/queue/{name}").text


def test_unknown_job_is_not_found(site: Site) -> None:
    page = site.guest.get("/queue/none.yaml")
    assert page.status_code == 404
    assert "There is no job none.yaml." in page.text


def test_preview_is_shown_while_the_job_runs(site: Site) -> None:
    this_host = site.host.agent.host
    worker = start_worker(site.store, this_host)
    (name,) = add_jobs(site.store, [1])
    running = lease(site.store, worker, host=this_host)
    assert site.guest.get(f"/previews/{name}").status_code == 404
    folder = site.host.agent.settings.previews
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / f"{running.job.id}.png").write_bytes(b"picture")
    address = re.findall(r'src="(/previews/[^"]+)"', site.guest.get("/queue").text)
    assert address == re.findall(r'src="(/previews/[^"]+)"', site.guest.get(f"/queue/{name}").text)
    answer = site.guest.get(address[0])
    assert (answer.content, answer.headers["content-type"]) == (b"picture", "image/png")
    assert "sandbox" in answer.headers["content-security-policy"]
    site.store.complete(running, AttemptOutcome(True))
    assert site.guest.get(address[0]).status_code == 404
    assert "/previews/" not in site.guest.get("/queue").text


def test_preview_of_an_earlier_run_is_not_shown_while_another_host_runs_the_job(site: Site) -> None:
    worker = start_worker(site.store, "another")
    (name,) = add_jobs(site.store, [1])
    running = lease(site.store, worker, host="another")
    folder = site.host.agent.settings.previews
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / f"{running.job.id}.png").write_bytes(b"picture")
    assert site.guest.get(f"/previews/{name}").status_code == 404
    for page in ("/queue", f"/queue/{name}"):
        assert "/previews/" not in site.guest.get(page).text


def test_length_of_the_queue_is_drawn_once_there_were_jobs(site: Site) -> None:
    assert "Length of the queue" not in site.guest.get("/queue").text
    add_jobs(site.store, [1, 2, 3])
    page = site.guest.get("/queue").text
    assert "Jobs that waited or ran: between 0 and 3, 3 at the end." in page
    assert "Length of the queue" not in site.guest.get("/queue?status=done").text


def test_chart_is_computed_for_the_whole_page_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []
    monkeypatch.setattr("comfywatchman.app.pages.queue.build_length_chart", computed.append)
    for fragment in ("running", "fresh"):
        assert site.guest.get(f"/queue?fragment={fragment}").status_code == 200
    assert computed == []
    site.guest.get("/queue")
    assert len(computed) == 1
