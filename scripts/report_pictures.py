"""Take the pictures of the report and of a terminal that the documentation shows, of the demo host of the web page.

    python -m scripts.report_pictures

It needs Debian's Chromium, uv and the test tools.
"""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from playwright.sync_api import Browser
from rich.console import Console
from rich.text import Text

from scripts.web_pictures import PICTURES, reduce_colours
from tests.governance.contexts import build_site as build_governed_site
from tests.web.chromium import start_chromium
from tests.web.demo_host import build_demo

_COLUMNS: Final = 96
_REPORT_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 24px 32px; max-width: 860px; color: #1f2328; }
h1, h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: 6px; }
h1 { font-size: 26px; } h2 { font-size: 20px; }
code { background: #f0f1f3; border-radius: 4px; padding: 2px 5px; font-size: 13px; }
table { border-collapse: collapse; } th, td { border: 1px solid #d1d9e0; padding: 5px 12px; text-align: left; }
"""
_TERMINAL_STYLE: Final = (
    "body { margin: 0; padding: 16px 20px; width: fit-content; } pre { font-size: 14px; margin: 0; }"
)


def run_on_terminal(arguments: Sequence[str]) -> str:
    """Run the program on a terminal and return what it shows, with colours."""
    near, far = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(_COLUMNS)}
    command = [sys.executable, "-m", "comfywatchman", *arguments]
    child = subprocess.Popen(command, env=environment, stdin=far, stdout=far, stderr=far)
    os.close(far)
    screen = b""
    # The end of a terminal whose last user is gone.
    with contextlib.suppress(OSError):
        while block := os.read(near, 65536):
            screen += block
    os.close(near)
    child.wait()
    return screen.decode().replace("\r\n", "\n")


def build_terminal_page(arguments: Sequence[str]) -> str:
    """Return the output of a command as a page."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(Text(f"$ comfywatchman {' '.join(arguments)}", style="bold"))
    console.print(Text.from_ansi(run_on_terminal(arguments)))
    return console.export_html(inline_styles=True).replace("</head>", f"<style>{_TERMINAL_STYLE}</style></head>")


def build_report_page(markdown: Path) -> str:
    """Return the Markdown report as a page, as sites that show Markdown render it."""
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown.read_text("utf-8"))
    return f"<!doctype html><meta charset=utf-8><style>{_REPORT_STYLE}</style><body>{body}"


def take(browser: Browser, page_text: str, name: str, *, width: int, max_height: int) -> None:
    """Take the picture of a page, cut at a height."""
    page = browser.new_page(viewport={"width": width, "height": 400}, device_scale_factor=1)
    page.set_content(page_text)
    height = min(max_height, int(page.evaluate("document.documentElement.scrollHeight")))
    page.set_viewport_size({"width": width, "height": height})
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file)
    page.close()
    reduce_colours(file)


def main() -> None:
    """Build the host and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="demo-") as text:
        governed = build_governed_site(Path(text) / "demo")
        with build_demo(governed, os.environ.update) as site, start_chromium() as browser:
            report = build_report_page(site.host.session.layout.status_markdown)
            terminal = build_terminal_page(["status"])
            for name, page, width in (("report", report, 920), ("terminal-status", terminal, 860)):
                shown = page.replace(str(governed.folder), "/home/ada")
                take(browser, shown, name, width=width, max_height=1100)


if __name__ == "__main__":
    main()
