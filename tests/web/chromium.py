"""Debian's Chromium, driven by playwright over the real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from comfywatchman.web.server import open_socket, serve
from tests.web.site import Site

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).parent / "vendored" / "axe.min.js"
LIMIT_MS = 100_000


@dataclass
class Visit:
    """A page in a browser, with the errors on its console."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of the site."""
        self.page.goto(f"{self.url}{path}")
        return self.page

    def sign_in(self, site: Site) -> None:
        """Exchange a one-time code for a session."""
        self.open("/sign-in")
        self.page.fill("#code", site.secrets.create_code(site.host.session.clock.now()))
        self.page.click("form.sign-in button")
        self.page.wait_for_selector("text=Sign out", state="attached")

    def find_violations(self) -> list[str]:
        """Return what axe finds, with everything unfolded."""
        self.page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
        # By the debugger: the content policy of the page forbids scripts that are not its own.
        session = self.page.context.new_cdp_session(self.page)
        count = "JSON.stringify(result.violations.map(found => found.id + ': ' + found.nodes[0].html))"
        script = f"{AXE.read_text('utf-8')};axe.run().then(result => {count})"
        answer = session.send("Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True})
        session.detach()
        violations: list[str] = json.loads(answer["result"]["value"])
        return violations

    def count_overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(width))

    def list_overflowing_cards(self) -> list[str]:
        """Return the beginning of each card whose content is wider than the card; a table may scroll inside it."""
        is_wider = "card.scrollWidth > card.clientWidth + 1 && getComputedStyle(card).overflowX !== 'auto'"
        cards_of_page = "[...document.querySelectorAll('main .card')]"
        script = f"{cards_of_page}.filter(card => {is_wider}).map(card => card.outerHTML.slice(0, 200))"
        cards: list[str] = self.page.evaluate(script)
        return cards


@contextmanager
def serve_site(site: Site) -> Iterator[str]:
    """Serve a site on a free port, and yield its address."""
    listener = open_socket("127.0.0.1", 0)
    with serve(site.application, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def start_chromium() -> Iterator[Browser]:
    """Start the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser, url: str, *, scheme: str = "light", width: int = 1280, has_javascript: bool = True
) -> Iterator[Visit]:
    """Open a window of its own."""
    context: BrowserContext = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
        java_script_enabled=has_javascript,
    )
    context.set_default_timeout(LIMIT_MS)
    opened = Visit(context.new_page(), url)
    opened.page.on("console", lambda message: opened.errors.append(message.text) if message.type == "error" else None)
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    try:
        yield opened
    finally:
        context.close()
