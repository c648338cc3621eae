"""The page of one workflow: its candidates and the download of one model, asked through ASGI."""

from __future__ import annotations

import html
import re
from pathlib import Path

import msgspec
import pytest

from comfywatchman.app.pages import workflow_detail
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.workflow_rows import build_workflow_id
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem
from comfywatchman.readiness.downloads.plan_files import write_plan
from comfywatchman.readiness.search.results import SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.readiness.status import MasterStatus
from tests.hosts import Host
from tests.web.site import Site, build_site

pytestmark = pytest.mark.slow

NAME = "absent.safetensors"
ITEM = PlanItem(NAME, "checkpoints", "https://huggingface.co/o/r/resolve/main/a.safetensors", 7, sha256="a" * 64)
OTHER = msgspec.structs.replace(ITEM, folder="loras")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host with a workflow that lacks a model, after a check."""
    host = Host(tmp_path)
    host.write("missing.json", checkpoint=NAME)
    host.status()
    for name, text in host.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return host


@pytest.fixture
def missing(host: Host, store: JobStore) -> Site:
    """Return the page of that host."""
    return build_site(host.home, store)


def read_own_report(site: Site) -> MasterStatus:
    report = site.host.read_master_status()
    assert report is not None
    return report


def store_plan(site: Site, cycle: str, *items: PlanItem) -> None:
    comfyui = read_own_report(site).comfyui
    write_plan(site.host.session.layout.home, DownloadPlan(cycle, "2026-12-01T00:00:00Z", items, 7, comfyui=comfyui))


def show_page(site: Site) -> str:
    (entry,) = read_own_report(site).workflows
    return site.client.get(f"/workflows/{build_workflow_id(entry.path)}").text


def read_download_form(page: str) -> dict[str, str]:
    (form,) = re.findall(r'action="/actions/models/download">(.*?)</form>', page, re.DOTALL)
    fields = re.findall(r'name="([^"]+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in fields}


def test_button_downloads_the_item_that_is_shown(missing: Site, started: list[list[str]]) -> None:
    store_plan(missing, "c1", ITEM, OTHER)
    page = show_page(missing)
    form = read_download_form(page)
    assert form == {"model": NAME, "plan": "c1.json", "item": ITEM.id}
    assert f"download --plan c1.json checkpoints/{NAME}" in page
    missing.client.post("/actions/models/download", data=form)
    assert started == [["download", "--plan", "c1.json", f"checkpoints/{NAME}"]]


def test_button_starts_nothing_of_a_newer_plan(missing: Site, started: list[list[str]]) -> None:
    store_plan(missing, "c1", ITEM)
    form = read_download_form(show_page(missing))
    store_plan(missing, "c2", ITEM)
    assert missing.client.post("/actions/models/download", data=form).status_code == 422
    assert missing.client.post("/actions/models/download", data={"model": NAME}).status_code == 422
    unknown = {"model": NAME, "plan": "c2.json", "item": OTHER.id}
    assert missing.client.post("/actions/models/download", data=unknown).status_code == 422
    assert started == []


def test_new_search_shows_its_candidates_at_once(missing: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    report = read_own_report(missing)
    (entry,) = report.workflows
    (model,) = entry.missing_models
    doubt = SearchDoubt.CANDIDATES_TO_CHOOSE
    model = msgspec.structs.replace(model, answer="UNCERTAIN", doubt=doubt)
    entry = msgspec.structs.replace(entry, missing_models=(model,))
    report = msgspec.structs.replace(report, workflows=(entry,))
    monkeypatch.setattr(PageHost, "read_master_status", lambda _host: report)
    for name in ("first.safetensors", "second.safetensors"):
        candidate = SearchCandidate("huggingface", name, url=ITEM.url, sha256="0" * 64)
        result = SearchResult(
            SearchStatus.UNCERTAIN, NAME, model.folder, "2026-12-01T00:00:00Z", candidates=(candidate,), doubt=doubt
        )
        monkeypatch.setattr(workflow_detail, "read_search_results", lambda _session, result=result: (result,))
        assert name in show_page(missing)
