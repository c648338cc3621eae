"""Take the pictures of the web page that the documentation shows, of a demo host that is built for it.

    python -m scripts.web_pictures            # docs/how-to/pictures
    python -m scripts.web_pictures --all DIR  # every page, light, dark and on a phone, to look at

It needs Debian's Chromium, uv and the test tools.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser

from tests.governance.contexts import build_site as build_governed_site
from tests.web.chromium import serve_site, start_chromium, visit
from tests.web.demo_host import build_demo, list_paths
from tests.web.site import Site

PICTURES: Final = Path(__file__).parents[1] / "docs" / "how-to" / "pictures"
DOCUMENTED: Final = (
    ("web-home", "/", "light", 1120, 900),
    ("web-workflows", "/workflows", "dark", 1120, 860),
    ("web-queue", "/queue", "light", 1120, 900),
    ("web-phone", "/queue", "light", 360, 780),
    ("web-environment", "/environment", "light", 1200, 800),
    ("web-server", "/server", "light", 1200, 800),
)


def reduce_colours(file: Path) -> None:
    """Store a picture with a palette, which takes a third of the space."""
    with Image.open(file) as picture:
        palette = picture.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    palette.save(file, optimize=True)


def take_documented(browser: Browser, url: str, site: Site) -> None:
    """Take the pictures of the documentation, with few colours."""
    for name, path, scheme, width, height in DOCUMENTED:
        with visit(browser, url, scheme=scheme, width=width) as window:
            window.sign_in(site)
            window.page.set_viewport_size({"width": width, "height": height})
            window.open(path).wait_for_load_state()
            file = PICTURES / f"{name}.png"
            window.page.screenshot(path=file)
        reduce_colours(file)


def take_all(browser: Browser, url: str, site: Site, folder: Path) -> None:
    """Take a picture of each whole page, as it opens."""
    folder.mkdir(parents=True, exist_ok=True)
    for label, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", 360)):
        with visit(browser, url, scheme=scheme, width=width) as window:
            window.sign_in(site)
            for path in list_paths(site):
                window.open(path).wait_for_load_state()
                name = path.strip("/").replace("/", "-").replace("?", "-")[:60] or "home"
                window.page.screenshot(path=folder / f"{name}.{label}.png", full_page=True)


def main() -> None:
    """Build the host and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="demo-") as text:
        folder = Path(text)
        governed = build_governed_site(folder / "demo")
        with build_demo(governed, os.environ.update) as site, serve_site(site) as url, start_chromium() as browser:
            if options.all is None:
                take_documented(browser, url, site)
            else:
                take_all(browser, url, site, options.all)


if __name__ == "__main__":
    main()
