"""Decisions of a person in a real browser, from button to files: a model, a download plan, the Python environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from comfywatchman.governance.environments.rollback import read_operations
from comfywatchman.governance.transactions import transaction
from comfywatchman.jobs.store.job_store import JobStore
from tests.cli.gov.calls import Gov
from tests.e2e.scenario import content, start_scenario
from tests.governance.contexts import KeptSite
from tests.hosts import QUIET
from tests.web.chromium import CHROMIUM, LIMIT_MS, serve_site, start_chromium, visit
from tests.web.site import Site, build_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
MODEL = "two_of_them.safetensors"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


def serve_with(monkeypatch: pytest.MonkeyPatch, folder: Path, variables: Mapping[str, str], store: JobStore) -> Site:
    """Return the page of a host that is configured by variables, which the background tasks inherit."""
    for name, text in {"HOME": str(folder), **variables}.items():
        monkeypatch.setenv(name, text)
    return build_site(folder / "home", store)


def run_task(page: Page, button: str) -> None:
    """Click a button that starts a task, and wait on the page of that task until it shows that the task is done."""
    earlier = page.url
    # The button may be on the page of an earlier task, which is done.
    with page.expect_navigation(url=lambda address: "/tasks/" in address and address != earlier, timeout=LIMIT_MS):
        page.get_by_role("button", name=button).click()
    progress = page.locator("#live-progress")
    expect(progress.get_by_text("Running", exact=True)).to_have_count(0, timeout=LIMIT_MS)
    expect(progress.get_by_text("Done", exact=True)).to_be_visible(timeout=LIMIT_MS)


def test_chosen_model_is_downloaded_and_its_workflow_gets_ready(
    browser: Browser, tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_scenario(tmp_path, empty=True) as scenario:
        scenario.on_civitai(MODEL, title="two of them")
        scenario.on_civitai(MODEL, had_as="the other of two", title="two of them again")
        scenario.lora(MODEL)
        site = serve_with(monkeypatch, tmp_path, scenario.host.variables, store)
        with serve_site(site) as url, visit(browser, url) as window:
            window.sign_in(site)
            page = window.open("/")
            run_task(page, "Check now")
            window.open("/workflows")
            page.get_by_role("link", name=MODEL.removesuffix(".safetensors")).first.click()
            page.locator("main").get_by_role("radio").nth(1).check()
            page.get_by_role("button", name="Use this file").click()
            expect(page.get_by_text(f"From now on {MODEL} is civitai:")).to_be_visible(timeout=LIMIT_MS)
            run_task(page, "Check now")
            window.open("/workflows")
            page.get_by_text("Approve the plan").click()
            run_task(page, "Download 1 file")
            target = scenario.host.comfyui / "models" / "loras" / MODEL
            assert target.read_bytes() in (content(MODEL), content("the other of two"))
            run_task(page, "Check now")
            window.open("/workflows?status=ready")
            expect(page.locator("main tbody tr")).to_have_count(1, timeout=LIMIT_MS)
            # What was downloaded is not offered again.
            expect(page.get_by_text("Download plan")).to_have_count(0, timeout=LIMIT_MS)
            assert window.errors == []


def test_trial_is_promoted_and_taken_back(
    browser: Browser, tmp_path: Path, store: JobStore, kept_root: KeptSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kept_root.restore()
    gov = Gov(root)
    gov.pack("depth")
    assert gov("node", "add", "--adopt", "depth").exit_code == 0
    txid = gov.json("tx", "run", "depth")["txid"]
    has_plainlet = "import importlib.util; print(importlib.util.find_spec('plainlet') is not None)"
    variables = {**QUIET, "COMFYWATCHMAN_GOVERNANCE__ROOT": str(root.root), "COMFYUI_ROOT": str(root.comfyui)}
    site = serve_with(monkeypatch, tmp_path, variables, store)
    with serve_site(site) as url, visit(browser, url) as window:
        window.sign_in(site)
        page = window.open("/environment")
        difference = page.get_by_role("row", name="added plainlet")
        expect(difference.get_by_text("1.0", exact=True)).to_be_visible(timeout=LIMIT_MS)
        assert root.run_in_production(has_plainlet) == "False"
        run_task(page, "Promote to production")
        assert transaction.read(root.layout, txid).status == "promoted"
        assert root.run_in_production(has_plainlet) == "True"
        window.open("/environment")
        run_task(page, "Undo")
        assert read_operations(root.layout)[-1].kind == "undo"
        assert root.run_in_production(has_plainlet) == "False"
        window.open("/environment")
        expect(page.get_by_role("heading", name="Promote depth, undone")).to_be_visible(timeout=LIMIT_MS)
        assert window.errors == []
