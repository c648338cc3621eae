"""A real server is the watched one by its process, and behind a tunnel by its folders and what it finds there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.api import fetch_nodes, probe_server
from comfywatchman.comfyui.server.identity import ServerIdentity, WatchedComfyUI, identify_server
from comfywatchman.readiness.models.scan import scan_models
from scripts.real_comfyui import Installed, Server
from tests.model_files import put, safetensors

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]


TUNNEL = """
import asyncio, sys

async def copy(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()

async def forward(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

async def main():
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def tunnel(port: int) -> Iterator[str]:
    """Forward connections to a port, as `ssh -L` does: one process listens, another one answers."""
    with subprocess.Popen([sys.executable, "-c", TUNNEL, str(port)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def identify(url: str, installed: Installed, base: Path) -> ServerIdentity:
    installation = Installation(installed.tree, version=None, base=base)
    folders = resolve_folders(installation)[0]
    running = probe_server(url)
    assert running is not None

    def fetch_packs() -> Mapping[str, str]:
        return fetch_nodes(running, {}).packs

    watched = WatchedComfyUI(installation, folders, scan_models(folders).folders)
    return identify_server(running, watched, fetch_packs).identity


def test_server_is_identified_by_its_process(
    real_comfyui_installed: Installed, real_comfyui: Server, tmp_path: Path
) -> None:
    assert identify(real_comfyui.url, real_comfyui_installed, real_comfyui.base) is ServerIdentity.WATCHED
    assert identify(real_comfyui.url, real_comfyui_installed, tmp_path) is ServerIdentity.OTHER


def test_server_behind_a_tunnel_is_identified_by_its_folders(
    real_comfyui_installed: Installed, real_comfyui: Server, tmp_path: Path
) -> None:
    put(real_comfyui.base / "models" / "loras" / "identity.safetensors", safetensors())
    with tunnel(real_comfyui.port) as url:
        assert identify(url, real_comfyui_installed, real_comfyui.base) is ServerIdentity.WATCHED
        # With the same arguments: its base directory is stated in them.
        assert identify(url, real_comfyui_installed, tmp_path) is ServerIdentity.OTHER
