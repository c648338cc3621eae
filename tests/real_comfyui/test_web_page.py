"""The web page in a real browser over a real ComfyUI: from a waiting job to the picture on the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.session import Session
from comfywatchman.jobs.execution.worker import JobWorker
from comfywatchman.jobs.files.workflows import load_workflows
from scripts.real_comfyui import start
from tests.real_comfyui.test_jobs import call
from tests.web.chromium import CHROMIUM, LIMIT_MS, serve_site, start_chromium, visit
from tests.web.site import build_site

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed, Server

pytestmark = [
    pytest.mark.real_comfyui,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
JOIN_SECONDS = 250.0


@pytest.fixture
def real_comfyui(real_comfyui_installed: Installed, tmp_path: Path) -> Iterator[Server]:
    """A ComfyUI of its own: the worker waits while the one that all tests share is used by others."""
    server = start(real_comfyui_installed, tmp_path / "comfyui")
    yield server
    server.stop()


@pytest.fixture
def home(
    real_comfyui: Server, real_comfyui_installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home with the sample workflows; the configuration comes from variables, as that of a container does."""
    variables = {
        "HOME": str(tmp_path),
        "COMFYUI_ROOT": str(real_comfyui_installed.tree),
        "COMFYWATCHMAN_COMFYUI__URL": real_comfyui.url,
        "COMFYWATCHMAN_JOBS__COMFYUI_URL": real_comfyui.url,
        "COMFYWATCHMAN_JOBS__MIN_FREE_DISK_GB": "0",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    (tmp_path / "config.toml").write_text("", "utf-8")
    call(tmp_path, "init")
    return tmp_path


def work_once(agent: JobAgent, url: str) -> None:
    """Run the next job, as `jobs run` does, with a connection to the queue of its own."""
    settings = agent.settings
    with agent.open_store() as store:
        worker_id = store.register_worker("here", version="1", gpu="none", lease_seconds=settings.lease_seconds)
        workflows = load_workflows(settings.workflows)
        assert settings.comfyui_url == url
        with JobWorker(settings, lambda: workflows, store, worker_id, host="here") as worker:
            # As the loop of the agent does: a server that has only just started may hold the first look up.
            deadline = time.monotonic() + JOIN_SECONDS
            while not worker.run_once():
                assert time.monotonic() < deadline, worker.wait_reason
                time.sleep(0.1)


def test_job_is_put_first_run_and_shown_with_its_picture(home: Path, real_comfyui: Server) -> None:
    for _ in range(2):
        call(home, "add", "first-picture")
    agent = JobAgent(Session(home, None))
    with agent.open_store() as store:
        first, second = [job.config_name for job in store.list_jobs()]
        site = build_site(home, store)
        with serve_site(site) as url, start_chromium() as browser, visit(browser, url) as window:
            window.sign_in(site)
            page = window.open("/queue?status=waiting")
            rows = page.locator("main tbody tr")
            expect(rows).to_have_count(2, timeout=LIMIT_MS)
            name = second.removesuffix(".yaml")
            rows.filter(has_text=name).get_by_role("button", name="Run next").click()
            expect(page.get_by_text("runs next.")).to_be_visible(timeout=LIMIT_MS)
            expect(rows.first).to_contain_text(name, timeout=LIMIT_MS)
            window.open(f"/queue/{second}")
            # The page stays open while the job runs, and shows its end by itself.
            worker = threading.Thread(target=work_once, args=(agent, real_comfyui.url))
            worker.start()
            expect(page.locator("#live-state").get_by_text("Done", exact=True)).to_be_visible(timeout=LIMIT_MS)
            worker.join(JOIN_SECONDS)
            assert not worker.is_alive()
            window.open(f"/queue/{second}")
            picture = page.locator(".gallery img")
            expect(picture).to_have_count(1, timeout=LIMIT_MS)
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("complete", value=True, timeout=LIMIT_MS)
            assert picture.evaluate("image => image.naturalWidth") > 0
            window.open("/queue?status=waiting")
            expect(rows).to_have_count(1, timeout=LIMIT_MS)
            expect(rows.first).to_contain_text(first.removesuffix(".yaml"), timeout=LIMIT_MS)
            assert window.errors == []
