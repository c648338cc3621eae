"""Pages that stay open: eight tabs at once, a server that is restarted, and a 3D output, in a real browser."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.web.server import open_socket, serve
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker
from tests.web.chromium import CHROMIUM, LIMIT_MS, serve_site, start_chromium, visit
from tests.web.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
TABS = 8
LONG_SECONDS = 36_000.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


def start_job(site: Site) -> str:
    """Let a job run, and return the id of its worker."""
    worker = start_worker(site.store, lease_seconds=LONG_SECONDS)
    add_jobs(site.store, [1])
    lease(site.store, worker, lease_seconds=LONG_SECONDS)
    show_step(site, worker, 3)
    return worker


def show_step(site: Site, worker: str, step: int) -> None:
    site.store.beat(worker, progress={"running": True, "node": "5", "value": step, "maximum": 12})


def test_eight_tabs_refresh_at_once(browser: Browser, site: Site) -> None:
    worker = start_job(site)
    with serve_site(site) as url, visit(browser, url) as window:
        tabs = [window.page, *(window.page.context.new_page() for _ in range(TABS - 1))]
        for tab in tabs:
            tab.goto(f"{url}/queue?status=running")
            expect(tab.get_by_text("Step 3 of 12")).to_be_visible(timeout=LIMIT_MS)
        show_step(site, worker, 9)
        for tab in tabs:
            expect(tab.get_by_text("Step 9 of 12")).to_be_visible(timeout=LIMIT_MS)
        # A ninth page is answered while all of them go on asking.
        window.open("/settings")
        expect(window.page.get_by_role("heading", name="Settings")).to_be_visible(timeout=LIMIT_MS)
        assert window.errors == []


@contextmanager
def hold_port() -> Iterator[int]:
    """Yield a free port that no other program gets, while servers, which reuse addresses, can listen on it in turn."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_held_port_is_for_servers_in_turn_and_for_nobody_else() -> None:
    with hold_port() as port:
        for _ in range(2):
            with open_socket("127.0.0.1", port):
                pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_open_page_survives_a_restart_of_the_server(browser: Browser, site: Site) -> None:
    worker = start_job(site)
    with hold_port() as port, visit(browser, f"http://127.0.0.1:{port}") as window:
        with serve(site.application, open_socket("127.0.0.1", port)):
            window.sign_in(site)
            page = window.open("/queue?status=running")
            expect(page.get_by_text("Step 3 of 12")).to_be_visible(timeout=LIMIT_MS)
        expect(page.locator("#away")).to_contain_text("has not answered since", timeout=LIMIT_MS)
        # What was shown stays, marked as possibly out of date.
        expect(page.get_by_text("Step 3 of 12")).to_be_visible(timeout=LIMIT_MS)
        show_step(site, worker, 9)
        with serve(site.application, open_socket("127.0.0.1", port)):
            expect(page.get_by_text("Step 9 of 12")).to_be_visible(timeout=LIMIT_MS)
            expect(page.locator("#away")).to_have_count(0, timeout=LIMIT_MS)
            # The session outlives the server.
            page.get_by_role("button", name="Pause the queue").click()
            expect(page.get_by_role("button", name="Resume the queue")).to_be_visible(timeout=LIMIT_MS)
            assert site.store.is_paused()


def build_triangle() -> bytes:
    """Return a binary glTF file with one triangle."""
    positions = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "buffers": [{"byteLength": len(positions)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(positions)}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 0],
            }
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(positions)
    chunks = (
        struct.pack("<II", len(text), 0x4E4F534A),
        text,
        struct.pack("<II", len(positions), 0x004E4942),
        positions,
    )
    return b"".join((b"glTF", struct.pack("<II", 2, length), *chunks))


def test_3d_output_is_shown_by_the_viewer(browser: Browser, site: Site) -> None:
    worker = start_worker(site.store, lease_seconds=LONG_SECONDS)
    add_jobs(site.store, [1])
    folder = site.host.agent.settings.finished / "3d" / "1"
    folder.mkdir(parents=True)
    (folder / "shape.glb").write_bytes(build_triangle())
    size = (folder / "shape.glb").stat().st_size
    files = {"folder": str(folder), "files": [{"name": "shape.glb", "size_bytes": size}]}
    site.store.complete(lease(site.store, worker, lease_seconds=LONG_SECONDS), AttemptOutcome(True, metadata=files))
    with serve_site(site) as url, visit(browser, url) as window:
        page = window.open(f"/queue/{build_name(1)}")
        viewer = page.locator("model-viewer")
        viewer.scroll_into_view_if_needed()
        expect(viewer).to_have_js_property("loaded", value=True, timeout=LIMIT_MS)
        # The file can be had without the viewer, too.
        expect(page.get_by_role("link", name="shape.glb")).to_be_visible(timeout=LIMIT_MS)
        assert window.errors == []
