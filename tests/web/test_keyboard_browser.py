"""The page by keyboard alone, in a real browser: sign in, set a priority, run a job next, retry failed jobs, cancel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker
from tests.web.chromium import CHROMIUM, LIMIT_MS, serve_site, start_chromium, visit
from tests.web.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
MAX_STOPS = 120
LONG_SECONDS = 36_000.0
FOCUSED_NAME = """() => {
  const element = document.activeElement;
  const label = element.labels && element.labels.length ? element.labels[0].textContent : '';
  return (label || element.getAttribute('aria-label') || element.textContent || '').replace(/\\s+/g, ' ').trim();
}"""
HAS_VISIBLE_FOCUS = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with a name has the focus, which must be visible."""
    seen = []
    for _ in range(MAX_STOPS):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED_NAME))
        if seen[-1] == name:
            assert page.evaluate(HAS_VISIBLE_FOCUS), name
            return
    raise AssertionError((name, seen))


def follow(page: Page, name: str, text: str) -> None:
    """Press Enter on the element with a name, and wait for a text on the page that follows."""
    tab_to(page, name)
    page.keyboard.press("Enter")
    expect(page.get_by_text(text, exact=False).first).to_be_visible(timeout=LIMIT_MS)


def test_queue_is_changed_by_keyboard_alone(browser: Browser, site: Site) -> None:
    worker = start_worker(site.store, lease_seconds=LONG_SECONDS)
    add_jobs(site.store, [1, 2], retry_limit=0)
    for _ in range(2):
        failed = AttemptOutcome(False, "node-error", "out of memory", retryable=False)
        site.store.complete(lease(site.store, worker, lease_seconds=LONG_SECONDS), failed)
    names = [name.removesuffix(".yaml") for name in add_jobs(site.store, [3, 4])]
    with serve_site(site) as url, visit(browser, url) as window:
        page = window.open("/")
        follow(page, "Sign in to change something", "Code")
        tab_to(page, "Code")
        page.keyboard.type(site.secrets.create_code(site.host.session.clock.now()))
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Sign out", state="attached")
        follow(page, "Queue 2 failed jobs", "Waiting")
        tab_to(page, f"Priority of {names[1]}, 1 runs first")
        page.keyboard.press("Control+A")
        page.keyboard.type("7")
        page.keyboard.press("Enter")
        expect(page.get_by_text("has priority 7.")).to_be_visible(timeout=LIMIT_MS)
        assert site.store.get(f"{names[1]}.yaml").priority == 7
        follow(page, f"Run next : {names[0]}", "runs next.")
        assert site.store.get(f"{names[0]}.yaml").priority == 1
        follow(page, f"Cancel {names[1]}", "is cancelled.")
        assert site.store.get(f"{names[1]}.yaml").status is JobStatus.CANCELLED
        tab_to(page, "Failed 2")
        page.keyboard.press("Enter")
        page.wait_for_url("**status=failed**")
        tab_to(page, "Retry all 2")
        page.keyboard.press("Enter")
        follow(page, "Yes, retry 2 jobs", "2 jobs wait again.")
        assert site.store.get(build_name(1)).status is JobStatus.PENDING
        assert window.errors == []
