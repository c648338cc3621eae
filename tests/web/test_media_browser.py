"""Outputs of every media type that the page shows, loaded and sought by the players of a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from comfywatchman.jobs.records import AttemptOutcome
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker
from tests.web.chromium import CHROMIUM, LIMIT_MS, serve_site, start_chromium, visit
from tests.web.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium"),
]
SECONDS = 2
FRAMES_PER_SECOND = 10
SAMPLES_PER_SECOND = 48_000
VIDEOS = {"clip.webm": "libvpx", "clip.mp4": "libx264"}
SOUNDS = {"tone.wav": "pcm_s16le", "tone.flac": "flac", "tone.opus": "libopus", "tone.mp3": "libmp3lame"}
PICTURES = ("still.png", "still.jpg", "still.webp", "still.gif", "still.avif")
SEEK = """(element) => new Promise((resolve, reject) => {
  element.addEventListener('seeked', () => resolve(element.currentTime), {once: true});
  element.addEventListener('error', () => reject(element.error.message), {once: true});
  element.currentTime = 1.5;
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests of the module."""
    with start_chromium() as started:
        yield started


def write_video(path: Path, codec: str) -> None:
    """Write two seconds of grey frames that get brighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FRAMES_PER_SECOND)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(SECONDS * FRAMES_PER_SECOND):
            pixels = np.full((48, 64, 3), 10 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def write_sound(path: Path, codec: str) -> None:
    """Write two seconds of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLES_PER_SECOND)
        assert isinstance(stream, av.AudioStream)
        samples = np.zeros((1, SAMPLES_PER_SECOND * SECONDS), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = SAMPLES_PER_SECOND, Fraction(1, SAMPLES_PER_SECOND), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_players_load_and_seek_every_media_type(browser: Browser, site: Site) -> None:
    folder = site.host.agent.settings.finished / "video" / "1"
    folder.mkdir(parents=True)
    for name, codec in VIDEOS.items():
        write_video(folder / name, codec)
    for name, codec in SOUNDS.items():
        write_sound(folder / name, codec)
    for name in PICTURES:
        Image.new("RGB", (64, 48), "teal").save(folder / name)
    names = [*VIDEOS, *SOUNDS, *PICTURES]
    files = [{"name": name, "size_bytes": (folder / name).stat().st_size} for name in names]
    add_jobs(site.store, [1])
    taken = lease(site.store, start_worker(site.store))
    site.store.complete(taken, AttemptOutcome(True, metadata={"folder": str(folder), "files": files}))
    with serve_site(site) as url, visit(browser, url) as window:
        page = window.open(f"/queue/{build_name(1)}")
        for name in (*VIDEOS, *SOUNDS):
            player = page.get_by_label(name, exact=True)
            # HAVE_METADATA: the browser could read the file, and knows how long it is.
            page.wait_for_function("element => element.readyState >= 1", arg=player.element_handle(), timeout=LIMIT_MS)
            assert float(player.evaluate("element => element.duration")) == pytest.approx(SECONDS, abs=0.2), name
            assert float(player.evaluate(SEEK)) == pytest.approx(1.5, abs=0.2), name
        for name in VIDEOS:
            assert page.get_by_label(name, exact=True).evaluate("element => element.videoWidth") == 64
        for name in PICTURES:
            picture = page.get_by_role("img", name=name)
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("naturalWidth", 64, timeout=LIMIT_MS)
        assert window.errors == []
