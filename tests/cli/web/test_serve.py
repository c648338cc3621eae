from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from comfywatchman.base.errors import Failure
from comfywatchman.cli.main import main
from comfywatchman.cli.web import serve
from comfywatchman.cli.web.page_server import ServedPage
from comfywatchman.web.server import require_running

LIMIT_SECONDS = 60.0


def test_code_and_token_are_made_without_a_server(tmp_path: Path) -> None:
    options = ["--home", str(tmp_path), "web"]
    code = CliRunner().invoke(main, [*options, "--code"], catch_exceptions=False).output
    assert re.search(r"Code: [2-9A-Z]{4}-[2-9A-Z]{4} ", code)
    output = CliRunner().invoke(main, [*options, "--create-token"], catch_exceptions=False).output
    token = (tmp_path / "state" / "web" / "token").read_text().strip()
    assert "state/web/token" in output
    assert token not in output


def test_end_of_the_server_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def serve_page(*_arguments: object) -> Iterator[ServedPage]:
        ended = threading.Thread()
        yield ServedPage("http://127.0.0.1:1/", False, lambda: require_running(ended))

    monkeypatch.setattr(serve, "serve_page", serve_page)
    monkeypatch.setattr(serve, "_CHECK_SECONDS", 0.0)
    result = CliRunner().invoke(main, ["--home", str(tmp_path), "web"])
    assert isinstance(result.exception, Failure)
    assert result.exception.code == "web-ended"


@pytest.mark.slow
def test_page_is_served_until_the_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "comfywatchman", "--home", str(tmp_path), "web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[1]
            code = process.stdout.readline().split()[4]
            origin = {"Origin": address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
            with httpx.Client(base_url=address, headers=origin, timeout=LIMIT_SECONDS) as browser:
                assert browser.get("/health").json()["status"] == "ok"
                assert browser.post("/sign-in", data={"code": code}).status_code == 303
                assert browser.post("/actions/queue/pause", data={"from": "now"}).status_code == 303
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_SECONDS) == 0
        finally:
            process.kill()
    log = (tmp_path / "log" / "structured.log").read_text()
    assert '"path":"/actions/queue/pause"' in log
    assert "change answered" in log
    assert code not in log


def test_changes_over_the_page_are_listed(tmp_path: Path) -> None:
    options = ["--home", str(tmp_path), "web", "--changes"]
    shown = CliRunner().invoke(main, options, catch_exceptions=False).output
    assert shown == "The end of the log holds no changes.\n"
    (tmp_path / "log").mkdir(exist_ok=True)
    facts = {"path": "/check", "client": "::1", "signed_in_by": "token", "status": 303}
    line = {"timestamp": "2026-12-01T12:00:00Z", "event": "change", **facts}
    (tmp_path / "log" / "structured.log").write_text(json.dumps(line) + "\n")
    shown = CliRunner().invoke(main, options, catch_exceptions=False).output
    assert shown.splitlines()[1] == "2026-12-01T12:00:00Z\t/check\tdone\t::1\ttoken"
