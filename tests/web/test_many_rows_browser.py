"""Ten thousand workflows and jobs in a real browser: searched, paged and watched, and no row moves by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.web_pages import add_many_jobs, write_report
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.readiness.sample.host import build_program_files
from tests.jobs.jobs import build_spec
from tests.model_files import put
from tests.web.chromium import CHROMIUM, LIMIT_MS, serve_site, start_chromium, visit
from tests.web.site import Site, build_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
COUNT = 10_000
MAX_ROWS = 60
POSITION = "document.querySelector('#waiting tbody tr:nth-child(20)').getBoundingClientRect().top"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


@pytest.fixture
def large(tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return the page of a host with ten thousand workflows and jobs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    comfyui = tmp_path / "ComfyUI"
    for name, content in build_program_files().items():
        put(comfyui / name, content)
    site = build_site(tmp_path / "home", store, comfyui=comfyui)
    write_report(site, comfyui, COUNT)
    add_many_jobs(store, COUNT)
    return site


def test_workflows_are_searched_and_paged(browser: Browser, large: Site) -> None:
    with serve_site(large) as url, visit(browser, url, width=360) as window:
        page = window.open("/workflows")
        expect(page.get_by_text("50 of 10000 workflows").first).to_be_visible(timeout=LIMIT_MS)
        assert page.locator("main tbody tr").count() <= MAX_ROWS
        expect(page.get_by_text("Page 1 of 200")).to_be_visible(timeout=LIMIT_MS)
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_text("Page 2 of 200")).to_be_visible(timeout=LIMIT_MS)
        page.get_by_label("Find a workflow, model or node").fill("w9990")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("main tbody tr")).to_have_count(1, timeout=LIMIT_MS)
        page.locator("main tbody th a").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("9990", timeout=LIMIT_MS)
        assert window.count_overflow() == 0
        assert window.errors == []


def test_new_jobs_are_announced_while_no_row_moves(browser: Browser, large: Site) -> None:
    with serve_site(large) as url, visit(browser, url) as window:
        page = window.open("/queue?status=waiting")
        assert page.locator("#waiting tbody tr").count() <= MAX_ROWS
        page.evaluate("document.querySelector('#waiting tbody tr:nth-child(20)').scrollIntoView()")
        before, scrolled = page.evaluate(POSITION), page.evaluate("window.scrollY")
        assert scrolled > 0
        names = [row.inner_text() for row in page.locator("#waiting tbody th").all()]
        for number in (1, 2, 3):
            large.store.upsert(build_spec(COUNT + number))
        expect(page.get_by_text("3 new jobs. Show them")).to_be_attached(timeout=LIMIT_MS)
        assert page.evaluate(POSITION) == before
        assert page.evaluate("window.scrollY") == scrolled
        assert [row.inner_text() for row in page.locator("#waiting tbody th").all()] == names
        page.get_by_role("link", name="Show the next 50").click()
        page.wait_for_url("**after=**")
        rest = [row.inner_text() for row in page.locator("#waiting tbody th").all()]
        assert rest
        assert not set(rest) & set(names)
        assert window.errors == []
