"""The files of the image: what the Dockerfile copies, and the programs run in a temporary root."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from comfywatchman.versions.lockfile import LockedCode, VersionLock, seal_lock, write_lock
from tests.handler.requests import TEXT_WORKFLOW, build_body
from tests.servers.gcs import BUCKET, GcsServer

CHECKOUT = Path(__file__).parents[2]
DOCKER = CHECKOUT / "docker"
LIMIT_SECONDS = 60
RECORDER = '#!/bin/sh\necho "$@" >> "$CALLS"\ncase "$*" in *"${FAILING:-never}"*) exit 3;; esac\n'
PROGRAM = """#!/bin/sh
case "$*" in
    "version "* | *" version "*) case "$*" in *"${{FAILING:-never}}"*) exit 3;; esac ;;
    *) exec {python} -m comfywatchman --home {home} "$@" ;;
esac
"""
LOCK = seal_lock(VersionLock(tag="first", comfyui=LockedCode(name="ComfyUI", source="folder")))
COMFYUI = """import sys
sys.path.insert(0, {checkout!r})
from tests.servers.comfyui import main
main()
"""


def read_dockerfile() -> str:
    return re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_copied_paths_exist() -> None:
    copied = []
    for line in re.findall(r"^COPY (.*)$", read_dockerfile(), flags=re.MULTILINE):
        words = line.split()
        if not any(word.startswith("--from") for word in words):
            copied += [word for word in words[:-1] if not word.startswith("--")]
    assert "comfywatchman" in copied
    assert [path for path in copied if not (CHECKOUT / path).exists()] == []


def test_image_runs_as_a_user_with_pinned_parts() -> None:
    text = read_dockerfile()
    bases = re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE)
    assert bases == ["python:${PYTHON_VERSION}-slim-bookworm"] * 2
    assert re.search(r"^ARG PYTHON_VERSION=\d+\.\d+\.\d+$", text, flags=re.MULTILINE)
    assert text.index("requirements/image.txt") < text.index("COPY comfywatchman")
    assert re.findall(r"^USER (\S+)$", text, flags=re.MULTILINE) == ["comfy"]
    assert "STOPSIGNAL SIGTERM" in text
    assert "linux/amd64,linux/arm64" in text
    assert "latest" not in text


def resolve(tmp_path: Path, *options: str, failing: str = "never") -> tuple[int, list[str]]:
    calls = tmp_path / "calls"
    calls.write_text("")
    write_program(tmp_path / "bin" / "comfywatchman", RECORDER)
    variables = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "CALLS": str(calls), "FAILING": failing}
    command = [sys.executable, str(DOCKER / "handler" / "resolver.py"), "--lock", "/l", "--target", str(tmp_path / "t")]
    result = subprocess.run([*command, *options], env=variables, capture_output=True, check=False)
    return result.returncode, calls.read_text().splitlines()


@pytest.mark.slow
def test_resolver_builds_once_and_then_compares(tmp_path: Path) -> None:
    target = tmp_path / "t"
    clone = f"version clone /l {target} --no-start"
    verify = f"--comfyui {target}/ComfyUI version verify /l --quick"
    assert resolve(tmp_path) == (0, [clone, verify])
    assert resolve(tmp_path, "--skip-models") == (0, [f"{clone} --skip-models"])
    assert resolve(tmp_path, failing="clone") == (3, [clone])
    target.mkdir()
    (target / ".comfywatchman-version.json").touch()
    assert resolve(tmp_path, "--restore") == (0, [f"{verify} --restore"])
    assert resolve(tmp_path, failing="verify") == (3, [verify])
    assert resolve(tmp_path, "--restore", "--accept-licences") == (0, [f"{verify} --restore --accept-licences"])


@pytest.mark.slow
def test_output_is_printed_or_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"content")
    with GcsServer() as gcs:
        variables = {**os.environ, "STORAGE_EMULATOR_HOST": gcs.url, "GCS_BUCKET": BUCKET, "GCS_PROJECT": "p"}

        def run(*options: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, str(DOCKER / "handler" / "output.py"), str(path), *options]
            return subprocess.run(command, env=variables, cwd=CHECKOUT, capture_output=True, text=True, check=False)

        assert base64.b64decode(run().stdout) == b"content"
        stored = run("--output", "gcs")
        (name,) = gcs.objects
        assert stored.stdout == f"gs://{BUCKET}/{name}\n"
        gcs.faults = [403]
        failed = run("--output", "gcs", "--run", "other")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "gcs-no-access" in failed.stderr


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def start_image(tmp_path: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the entry point with a ComfyUI that computes nothing; yield its process and the handler's address."""
    root = tmp_path / "comfy"
    write_program(root / "ComfyUI" / ".venv" / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (root / "ComfyUI" / "main.py").write_text(COMFYUI.format(checkout=str(CHECKOUT)))
    write_lock(root / "version.lock.json", LOCK)
    (root / ".comfywatchman-version.json").touch()
    write_program(tmp_path / "bin" / "comfywatchman", PROGRAM.format(python=sys.executable, home=tmp_path / "home"))
    port = find_free_port()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "COMFY_ROOT": str(root),
        "COMFY_PORT": str(find_free_port()),
        "HANDLER_HOST": "127.0.0.1",
        "HANDLER_PORT": str(port),
        **variables,
    }
    command = [str(DOCKER / "entrypoint.sh")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.slow
def test_entrypoint_serves_a_workflow_until_the_signal(tmp_path: Path) -> None:
    with start_image(tmp_path) as (process, address):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["status"] == "started"
        deadline = time.monotonic() + LIMIT_SECONDS
        with httpx.Client(base_url=address, timeout=LIMIT_SECONDS) as client:
            while not is_ready(client) and time.monotonic() < deadline:
                time.sleep(0.05)
            answer = client.post(
                "/run", content=build_body(TEXT_WORKFLOW), headers={"content-type": "application/json"}
            ).json()
            assert answer["outputs"][0]["data"] == "a text"
            assert answer["lock"] == {"tag": "first", "content_sha256": LOCK.content_sha256}
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_SECONDS) in {0, 128 + signal.SIGTERM}
            assert not is_ready(client)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "status", "reason"),
    [
        ({"LOCK_PATH": "/none"}, 2, "lock-missing"),
        ({"FAILING": "show"}, 2, "lock-invalid"),
        ({"FAILING": "verify"}, 1, "version-differs"),
    ],
)
def test_entrypoint_refuses_a_wrong_version(
    tmp_path: Path, variables: dict[str, str], status: int, reason: str
) -> None:
    with start_image(tmp_path, **variables) as (process, _address):
        stdout, _stderr = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, json.loads(stdout)) == (status, {"status": "failed", "reason": reason})


@pytest.mark.slow
def test_end_of_comfyui_ends_the_image_with_an_error(tmp_path: Path) -> None:
    with start_image(tmp_path, COMFY_OPTIONS="--fault unknown=[") as (process, _address):
        process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode not in {0, None}
