"""The pages in a real browser: with and without JavaScript, in both themes, wide and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser

from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from tests.jobs.jobs import add_jobs, build_name, build_spec, lease, start_worker
from tests.web.chromium import CHROMIUM, serve_site, start_chromium, visit
from tests.web.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
HOSTILE = "T2I_20261130120000_90_<img src=x onerror=document.title='live'>.yaml"
LONG_SECONDS = 36_000.0
LONG = f"T2I_20261130120000_91_{'a' * 140}.yaml"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


@pytest.fixture
def busy_site(site: Site) -> Site:
    """Return a site with jobs in every state, among them hostile and long names."""
    # A slow browser takes longer than a worker may be silent.
    worker = start_worker(site.store, lease_seconds=LONG_SECONDS)
    add_jobs(site.store, [1, 2, 3], retry_limit=0)
    for _ in range(2):
        failed = AttemptOutcome(False, "node-error", f"out of memory {'x' * 140}\nmore", retryable=False)
        site.store.complete(lease(site.store, worker, lease_seconds=LONG_SECONDS), failed)
    folder = site.host.agent.settings.finished / "image" / "3"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(PNG)
    files = {"folder": str(folder), "files": [{"name": "a.png", "size_bytes": len(PNG)}]}
    site.store.complete(lease(site.store, worker, lease_seconds=LONG_SECONDS), AttemptOutcome(True, metadata=files))
    add_jobs(site.store, [4])
    lease(site.store, worker, lease_seconds=LONG_SECONDS)
    site.store.beat(worker, progress={"running": True, "node": "5", "value": 3, "maximum": 12})
    for name in (HOSTILE, LONG):
        site.store.upsert(replace(build_spec(90), config_name=name, workflow_id=name))
    return site


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c63f8cfc0f01f0005000201a5f645400000000049454e44ae426082"
)


def test_happy_path_without_javascript(browser: Browser, busy_site: Site) -> None:
    with serve_site(busy_site) as url, visit(browser, url, has_javascript=False) as window:
        window.sign_in(busy_site)
        page = window.open("/queue?status=waiting")
        row = page.locator("tr", has_text="_91_")
        row.get_by_label("Priority of").fill("7")
        row.get_by_role("button", name="Set").click()
        page.wait_for_selector("text=has priority 7.")
        assert busy_site.store.get(LONG).priority == 7
        page.locator("tr", has_text="_91_").get_by_role("button", name="Run next").click()
        page.wait_for_selector("text=runs next.")
        assert busy_site.store.get(LONG).priority == 1
        window.open("/queue?status=failed")
        page.click("text=Retry all 2")
        page.click("text=Yes, retry 2 jobs")
        page.wait_for_selector("text=2 jobs wait again.")
        assert busy_site.store.get(build_name(1)).status is JobStatus.PENDING


def test_page_refreshes_itself_and_keeps_its_rows(browser: Browser, busy_site: Site) -> None:
    store = busy_site.store
    with serve_site(busy_site) as url, visit(browser, url) as window:
        page = window.open("/queue")
        page.wait_for_selector("text=Step 3 of 12")
        rows = page.locator("tbody tr").count()
        (worker,) = [worker for host in store.list_hosts() for worker in host.workers]
        store.beat(worker.worker_id, progress={"running": True, "node": "5", "value": 9, "maximum": 12})
        add_jobs(store, [50])
        page.wait_for_selector("text=Step 9 of 12")
        page.wait_for_selector("text=1 new job. Show it")
        assert page.locator("tbody tr").count() == rows
        page.click("text=1 new job. Show it")
        page.wait_for_function(f"document.querySelectorAll('tbody tr').length === {rows + 1}")
        assert window.errors == []


def test_pages_are_accessible_and_fit(browser: Browser, busy_site: Site) -> None:
    paths = ("/", "/queue", "/queue?status=done", f"/queue/{build_name(3)}", f"/queue/{build_name(1)}", "/sign-in")
    with serve_site(busy_site) as url:
        for scheme, width in (("light", 1280), ("dark", 360)):
            with visit(browser, url, scheme=scheme, width=width) as window:
                window.sign_in(busy_site)
                for path in paths:
                    window.open(path)
                    assert window.find_violations() == [], (path, scheme)
                    assert window.count_overflow() == 0, (path, width)
                assert window.errors == []


def test_hostile_names_do_nothing(browser: Browser, busy_site: Site) -> None:
    with serve_site(busy_site) as url, visit(browser, url) as window:
        window.sign_in(busy_site)
        page = window.open("/queue?status=waiting")
        page.wait_for_selector("text=<img src=x")
        assert page.title() == "Queue · comfywatchman"
        assert page.locator("img").count() == 0
        assert window.errors == []


def test_menu_and_theme_work_on_a_phone_without_javascript(browser: Browser, site: Site) -> None:
    with serve_site(site) as url, visit(browser, url, width=360, has_javascript=False) as window:
        page = window.open("/")
        page.click("text=Menu")
        page.get_by_label("Dark").check(force=True)
        page.get_by_role("button", name="Save the theme").click()
        page.wait_for_selector("html[data-theme=dark]")


def test_keyboard_reaches_the_content(browser: Browser, busy_site: Site) -> None:
    with serve_site(busy_site) as url, visit(browser, url) as window:
        page = window.open("/queue")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.id === 'main'")


def test_status_turns_grey_when_its_time_is_over(browser: Browser, site: Site) -> None:
    with serve_site(site) as url, visit(browser, url) as window:
        page = window.open("/")
        page.evaluate(
            "const status = document.querySelector('.status');"
            "status.className = 'status ok'; status.dataset.validUntil = '2020-01-01T00:00:00Z'"
        )
        page.wait_for_selector(".status.stale")
