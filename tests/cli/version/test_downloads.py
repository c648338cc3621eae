from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.versions.lockfile import lock_path, read_lock, seal_lock, write_lock
from tests.hosts import CHECKPOINT, Host
from tests.model_files import safetensors
from tests.servers.faults import FaultServer
from tests.sources.download.support import model

pytestmark = pytest.mark.slow


def make_version(host: Host, server: FaultServer) -> Path:
    """Make a version whose only model has the address of a server, and delete the model."""
    host.write("good.json")
    made = host.invoke("version", "create", "first", "--offline", "--workflow", str(host.workflows))
    assert made.exit_code == 0
    path = lock_path(host.home / "lockfiles", "first")
    lock = read_lock(path)
    locked = msgspec.structs.replace(lock.models[0], sources=(f"http://{server.host}/{CHECKPOINT}",))
    write_lock(path, seal_lock(msgspec.structs.replace(lock, models=(locked,))))
    place = host.comfyui / "models" / "checkpoints" / CHECKPOINT
    place.unlink()
    return place


def test_missing_model_is_downloaded_from_the_lock(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with FaultServer(safetensors()) as server:
        host.set(downloads__local_hosts=[server.host], downloads__keep_free_gb=0)
        place = make_version(host, server)
        result = host.invoke("version", "verify", "first", "--restore")
    assert result.exit_code == 0
    assert place.read_bytes() == safetensors()


def test_download_with_another_content_is_not_kept(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with FaultServer(model()) as server:
        host.set(downloads__local_hosts=[server.host], downloads__keep_free_gb=0)
        place = make_version(host, server)
        result = host.invoke("version", "verify", "first", "--restore")
    assert result.exit_code == 1
    assert "not restored" in result.output
    assert not place.exists()


def test_address_that_downloads_do_not_allow_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with FaultServer(safetensors()) as server:
        place = make_version(host, server)
        result = host.invoke("version", "verify", "first", "--restore")
        assert server.asked == []
    assert result.exit_code == 1
    assert "not encrypted" in result.output
    assert not place.exists()
