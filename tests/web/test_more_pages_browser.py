"""The pages of workflows, models, the environment, the server, hosts and settings in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from comfywatchman.jobs.store.job_store import JobStore
from tests.hosts import Host
from tests.web.chromium import CHROMIUM, serve_site, start_chromium, visit
from tests.web.site import Site, build_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
HOSTILE = f"<img src=x onerror=document.title='live'>\u202e\x07{'n' * 90}"
PATHS = ("/workflows", "/models", "/environment", "/server", "/hosts", "/settings", "/tasks")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


@pytest.fixture
def checked(tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return the page of a checked host with a hostile name, and two agents that differ."""
    host = Host(tmp_path)
    for name, text in host.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    host.write("ready.json")
    host.write("missing.json", checkpoint="absent.safetensors", lora="other.safetensors")
    host.write(f"{HOSTILE}.json", checkpoint=f"{HOSTILE}.safetensors")
    host.status()
    for name, is_ready in (("one", True), (f"two-{'q' * 140}", False)):
        store.register_worker(name, version="1", gpu="RTX 4090")
        store.publish_readiness(name, {"flux": is_ready}, {"flux": "m" * 140})
    return build_site(host.home, store)


def test_pages_are_accessible_and_fit_with_everything_unfolded(browser: Browser, checked: Site) -> None:
    with serve_site(checked) as url, visit(browser, url, scheme="dark", width=360) as window:
        window.sign_in(checked)
        page = window.open("/workflows?q=img")
        hostile = page.locator("main tbody th a").get_attribute("href")
        for path in (*PATHS, hostile or ""):
            window.open(path)
            assert window.find_violations() == [], path
            assert window.count_overflow() == 0, path
            assert "live" not in window.page.title()
        assert window.errors == []


def test_workflow_is_found_and_opened_without_javascript(browser: Browser, checked: Site) -> None:
    with serve_site(checked) as url, visit(browser, url, has_javascript=False) as window:
        page = window.open("/workflows")
        page.get_by_label("Find a workflow, model or node").fill("absent")
        page.get_by_role("button", name="Filter").click()
        page.get_by_role("link", name="missing", exact=True).click()
        page.wait_for_selector("text=2 models missing")
        page.wait_for_selector("text=models/checkpoints/absent.safetensors")


def test_check_runs_on_while_its_page_is_closed(browser: Browser, checked: Site) -> None:
    with serve_site(checked) as url:
        with visit(browser, url, has_javascript=False) as window:
            window.sign_in(checked)
            page = window.open("/settings")
            page.get_by_role("button", name="Check now").click()
            page.wait_for_url("**/tasks/*")
        with visit(browser, url) as window:
            page = window.open("/tasks")
            page.wait_for_selector("#live-list >> text=Done")
            assert window.errors == []
