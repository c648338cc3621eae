from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from tests.hosts import Host, graph
from tests.model_files import safetensors
from tests.servers.faults import FaultServer
from tests.sources.download.support import model

pytestmark = pytest.mark.slow

URL = "https://huggingface.co/o/r/resolve/main/ink.safetensors"


def declare(url: str, **changes: object) -> bytes:
    """Return a workflow that lacks a LoRA and declares a link for it."""
    workflow = orjson.loads(graph(lora="sub/ink.safetensors"))
    workflow["models"] = [{"name": "ink.safetensors", "url": url, "directory": "loras", **changes}]
    return orjson.dumps(workflow)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    found.write("a.json", lora="sub/ink.safetensors")
    return found


def test_file_of_the_same_name_is_linked_only_when_confirmed(host: Host) -> None:
    host.model("loras/ink.safetensors")
    host.cycle()
    refused = host.program("download", "sub/ink.safetensors")
    assert refused.returncode == 1
    assert "Error (download-unconfirmed): " in refused.stderr.decode()
    assert "nothing proves that it is the same model" in refused.stderr.decode()
    accepted = host.program("download", "sub/ink.safetensors", "--yes")
    assert (accepted.returncode, b"Linked to" in accepted.stdout) == (0, True)
    assert host.entry("a.json").status == "READY"


def test_file_with_the_declared_hash_is_linked_at_once(host: Host) -> None:
    host.model("loras/ink.safetensors")
    digest = sha256(safetensors()).hexdigest()
    host.write("a.json", declare(URL, hash=digest, hash_type="SHA256"))
    host.cycle()
    assert host.program("duplicates", "--hash").returncode == 0
    result = host.program("download", "sub/ink.safetensors", "--json")
    assert [outcome["how"] for outcome in json.loads(result.stdout)["outcomes"]] == ["linked"]


def test_declared_link_is_downloaded_when_confirmed(host: Host) -> None:
    with FaultServer(model()) as server:
        host.set(downloads__local_hosts=[server.host], downloads__keep_free_gb=0)
        host.write("a.json", declare(f"http://{server.host}/ink.safetensors"))
        host.cycle()
        refused = host.program("download", "ink.safetensors")
        assert (refused.returncode, server.asked) == (1, [])
        assert b"which nobody has verified" in refused.stderr
        accepted = host.program("download", "ink.safetensors", "--yes")
        assert accepted.returncode == 0, accepted.stderr
    assert host.entry("a.json").status == "READY"


def test_model_without_a_source_names_the_search(host: Host) -> None:
    host.cycle()
    result = host.program("download", "sub/ink.safetensors")
    assert result.returncode == 1
    assert f"Search for it: comfywatchman --home {host.home} resolve sub/ink.safetensors" in result.stderr.decode()


def test_unknown_name_is_answered_with_a_similar_one(host: Host) -> None:
    host.cycle()
    assert b"Did you mean sub/ink.safetensors?" in host.program("download", "inc.safetensors").stderr
    assert b"--list` shows" not in host.program("download", "zzzz").stderr


def test_file_that_is_gone_meanwhile_is_reported(host: Host) -> None:
    path = host.model("loras/ink.safetensors")
    host.cycle()
    path.unlink()
    assert b"is no longer there" in host.program("download", "sub/ink.safetensors", "--yes").stderr
