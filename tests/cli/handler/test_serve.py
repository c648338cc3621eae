from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.handler.requests import DescribedComfyUI, build_body
from tests.hosts import Host

LIMIT_SECONDS = 60


@pytest.mark.slow
def test_requests_are_served_until_the_signal(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with DescribedComfyUI() as server:
        command = host.command("handler", "serve", "--port", "0", "--url", server.url)
        with subprocess.Popen(command, env=host.environment(), stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().split()[1]
                with httpx.Client(base_url=address, timeout=LIMIT_SECONDS) as client:
                    deadline = time.monotonic() + LIMIT_SECONDS
                    while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
                        time.sleep(0.02)
                    assert client.get("/ready").json()["canary"]["status"] == "ran"
                    headers = {"content-type": "application/json"}
                    body = build_body(idempotency_key="k")
                    first = client.post("/run", content=body, headers=headers)
                    assert client.post("/run", content=body, headers=headers).json() == first.json()
                    assert first.json()["outputs"][0]["mime"] == "image/png"
                process.send_signal(signal.SIGTERM)
                assert process.wait(LIMIT_SECONDS) == 0
            finally:
                process.kill()
        # The canary and one run.
        assert len(server.ran) == 2


def refuse(host: Host, *options: str) -> str:
    result = host.invoke("handler", "serve", "--port", "0", *options)
    assert result.exit_code == 1
    return str(getattr(result.exception, "code", result.exception))


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    host = Host(tmp_path)
    token = tmp_path / "token"
    assert refuse(host, "--host", "::") == "handler-token-missing"
    assert refuse(host, "--token-file", str(token)) == "file-unreadable"
    token.write_text("letters\n")
    token.chmod(0o644)
    assert refuse(host, "--token-file", str(token)) == "handler-token-missing"
    token.chmod(0o600)
    token.write_text("two words\n")
    assert refuse(host, "--token-file", str(token)) == "handler-token-missing"


def test_taken_port_is_explained(tmp_path: Path) -> None:
    with DescribedComfyUI() as server:
        result = Host(tmp_path).invoke("handler", "serve", "--port", str(server.port))
    assert getattr(result.exception, "code", "") == "web-port-taken"
    assert json.dumps(str(result.exception)).startswith('"The handler cannot listen')
