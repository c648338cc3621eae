"""Every page at every width in both themes: axe finds nothing, nothing overflows, and the console has no errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from comfywatchman.app.tasks.records import TaskKind, TaskOrder
from comfywatchman.base.files import write_atomic
from comfywatchman.base.state.state_file import write_state
from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.jobs.store.job_store import JobStore
from tests.governance.contexts import KeptSite
from tests.hosts import Host
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker
from tests.web.chromium import CHROMIUM, Visit, serve_site, start_chromium, visit
from tests.web.demo_host import build_demo
from tests.web.demo_host import list_paths as list_demo_paths
from tests.web.site import Site, build_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
AXE_WIDTHS = (360, 768, 1280, 1920)
WIDTHS = (360, 480, 768, 1024, 1280, 1920)
LONG = "n" * 140
LONG_SECONDS = 36_000.0
TASK = "20261201T000000Z-download"
PATHS = (
    "/",
    "/workflows",
    "/queue",
    "/queue?status=running",
    "/queue?status=waiting",
    "/queue?status=failed",
    "/queue?status=done",
    f"/queue/{build_name(1)}",
    f"/queue/{build_name(2)}",
    f"/queue/{build_name(3)}",
    "/models",
    "/environment",
    "/server",
    "/hosts",
    "/settings",
    "/tasks",
    f"/tasks/{TASK}",
    "/sign-in",
    "/no-such-page",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


@pytest.fixture
def full(tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return the page of a host with something in every list, and long names."""
    host = Host(tmp_path)
    for name, text in host.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    host.write("ready.json")
    host.write(f"{LONG}.json", checkpoint=f"{LONG}.safetensors")
    host.write("broken.json", b"{")
    for _ in range(2):
        host.cycle()
    site = build_site(host.home, store)
    worker = start_worker(store, f"host-{LONG}", lease_seconds=LONG_SECONDS)
    add_jobs(store, [1, 2, 3, 4, 5], retry_limit=0)
    failed = AttemptOutcome(False, "node-error", f"out of memory {LONG}\nmore", retryable=False)
    store.complete(lease(store, worker, lease_seconds=LONG_SECONDS), failed)
    files = {"folder": str(tmp_path), "files": [{"name": f"{LONG}.bin", "size_bytes": 7}]}
    store.complete(lease(store, worker, lease_seconds=LONG_SECONDS), AttemptOutcome(True, metadata=files))
    running = lease(store, worker, lease_seconds=LONG_SECONDS, host=site.host.agent.host)
    store.beat(worker, progress={"running": True, "node": LONG, "value": 3, "maximum": 12})
    preview = Path(__file__).parents[2] / "docs" / "how-to" / "pictures" / "web-phone.png"
    write_atomic(host.home / "state" / "previews" / f"{running.job.id}.png", preview.read_bytes())
    order = TaskOrder(TaskKind.DOWNLOAD, f"comfywatchman download {LONG}", "2026-12-01T00:00:00Z", LONG)
    write_state(host.home / "state" / "tasks" / f"{TASK}.task.json", order)
    _ = site.host.session.log
    site.client.post("/actions/queue/priority", data={"name": build_name(4), "priority": "7", "from": "now"})
    store.publish_readiness("one", {"flux": True}, {})
    store.publish_readiness(f"host-{LONG}", {"flux": False}, {"flux": LONG})
    return site


def list_paths(window: Visit) -> tuple[str, ...]:
    """Return the paths of all pages, with those of the workflows."""
    page = window.open("/workflows")
    links = page.locator("main tbody th a")
    return (*PATHS, *(links.nth(index).get_attribute("href") or "" for index in range(links.count())))


def test_no_page_overflows_at_any_width(browser: Browser, full: Site) -> None:
    with serve_site(full) as url, visit(browser, url) as window:
        window.sign_in(full)
        found = []
        for path in list_paths(window):
            page = window.open(path)
            page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                found += [(path, width, "page")] * (window.count_overflow() > 0)
                found += [(path, width, card) for card in window.list_overflowing_cards()]
        assert found == []


@pytest.fixture
def demo(kept_root: KeptSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Return the page of a host with supervisor, incident, governed environment, plan, candidates and outputs."""

    def set_variables(variables: Mapping[str, str]) -> None:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)

    with build_demo(kept_root.restore(), set_variables) as site:
        yield site


def test_demo_page_does_not_overflow_and_has_no_errors(browser: Browser, demo: Site) -> None:
    with serve_site(demo) as url, visit(browser, url) as window:
        window.sign_in(demo)
        found = []
        for path in list_demo_paths(demo):
            page = window.open(path)
            page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                found += [(path, width, "page")] * (window.count_overflow() > 0)
                found += [(path, width, card) for card in window.list_overflowing_cards()]
        assert found == []
        assert [error for error in window.errors if "404" not in error] == []


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", AXE_WIDTHS)
def test_axe_finds_nothing_on_any_page_of_the_demo(browser: Browser, demo: Site, scheme: str, width: int) -> None:
    with serve_site(demo) as url, visit(browser, url, scheme=scheme, width=width) as window:
        window.sign_in(demo)
        for path in list_demo_paths(demo):
            window.open(path)
            assert window.find_violations() == [], path
        assert [error for error in window.errors if "404" not in error] == []


@pytest.mark.torture
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", AXE_WIDTHS)
def test_axe_finds_nothing_on_any_page(browser: Browser, full: Site, scheme: str, width: int) -> None:
    with serve_site(full) as url, visit(browser, url, scheme=scheme, width=width) as window:
        window.sign_in(full)
        for path in list_paths(window):
            window.open(path)
            assert window.find_violations() == [], path
        # The page that does not exist is answered with status 404, which browsers report.
        assert [error for error in window.errors if "404" not in error] == []
