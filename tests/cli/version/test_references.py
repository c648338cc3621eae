from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.hosts import Host
from tests.servers.comfyui import FakeComfyUI

WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "made"}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def make_png(colour: tuple[int, int, int]) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(content, "PNG")
    return content.getvalue()


class ColouredComfyUI(FakeComfyUI):
    """Saves images of one colour."""

    colour = (100, 0, 0)

    def _run_node(self, node_id: str, node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        result = super()._run_node(node_id, node)
        for name in self.files:
            self.files[name] = make_png(self.colour)
        return result


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    assert host.invoke("version", "create", "first", "--offline").exit_code == 0
    (tmp_path / "flow.json").write_text(json.dumps(WORKFLOW))
    return host


@pytest.mark.slow
def test_recorded_outputs_are_checked_later(host: Host, tmp_path: Path) -> None:
    with ColouredComfyUI() as server:
        options = ("first", "--url", server.url)
        recorded = host.invoke("version", "record", *options, "--workflow", tmp_path / "flow.json")
        assert recorded.exit_code == 0, recorded.output
        assert "Recorded 1 output in " in recorded.output
        assert host.invoke("version", "check", *options).exit_code == 0
        server.colour = (101, 0, 0)
        changed = host.invoke("version", "check", *options, "--json")
        assert changed.exit_code == 1
        (output,) = json.loads(changed.stdout)["outputs"]
        assert (output["node_id"], output["state"]) == ("2", "different")
        assert output["difference"] == pytest.approx(1 / 3)
        close = host.invoke("version", "check", *options, "--tolerance", "0.5")
        assert close.exit_code == 0
        assert "close" in close.output
        assert ("POST", "/free") in server.requests


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["empty", "old"])
def test_nodes_that_the_cache_answered_run_again(host: Host, tmp_path: Path, cache: str) -> None:
    with ColouredComfyUI() as server:
        options = ("first", "--url", server.url)
        assert host.invoke("version", "record", *options, "--workflow", tmp_path / "flow.json").exit_code == 0
        server.faults.cache, server.faults.frees_late = cache, True
        server.colour = (101, 0, 0)
        changed = host.invoke("version", "check", *options, "--json")
        (output,) = json.loads(changed.stdout)["outputs"]
        assert (output["node_id"], output["state"]) == ("2", "different")


@pytest.mark.slow
def test_cache_that_stays_proves_nothing(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ColouredComfyUI() as server:
        options = ("first", "--url", server.url)
        assert host.invoke("version", "record", *options, "--workflow", tmp_path / "flow.json").exit_code == 0
        server.faults.cache = "old"
        monkeypatch.setattr(server.stored, "forget", lambda: None)
        refused = host.invoke("version", "check", *options)
    assert getattr(refused.exception, "code", None) == "version-bad-references"
    assert "from its cache" in str(refused.exception)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"nodes": [], "links": []}, "is not in API format"),
        ([], "is not in API format"),
        ({"1": {"class_type": "TestFail", "inputs": {}}}, "made to fail"),
        ({"1": {"class_type": "Unknown", "inputs": {}}}, "was refused"),
        ({"1": {"class_type": "PreviewAny", "inputs": {}}}, "made no file"),
    ],
)
def test_workflow_that_cannot_be_recorded_is_explained(
    host: Host, tmp_path: Path, content: object, problem: str
) -> None:
    (tmp_path / "flow.json").write_text(json.dumps(content))
    with ColouredComfyUI() as server:
        result = host.invoke("version", "record", "first", "--url", server.url, "--workflow", tmp_path / "flow.json")
    assert getattr(result.exception, "code", None) == "version-bad-references"
    assert problem in str(result.exception)
    assert not (host.home / "lockfiles" / "comfy-first.outputs").exists()


def test_check_without_records_says_how_to_record(host: Host) -> None:
    result = host.invoke("version", "check", "first")
    assert getattr(result.exception, "code", None) == "version-bad-references"
    assert "version record" in str(getattr(result.exception, "hint", ""))
