"""A running ComfyUI over real HTTP: its lists decide, if it is the server of the watched installation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfywatchman.readiness.status import MasterStatus
from tests.hosts import CHECKPOINT, Host
from tests.model_files import put, safetensors
from tests.servers.base import LocalServer, Reply

CORE = ("CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage", "KSampler", "VAEDecode", "SaveImage")


def nodes(*more: str, checkpoints: tuple[str, ...] = (CHECKPOINT,)) -> dict[str, Any]:
    listed: dict[str, Any] = {name: {"input": {}, "python_module": "nodes"} for name in (*CORE, *more)}
    listed["CheckpointLoaderSimple"]["input"] = {"required": {"ckpt_name": [list(checkpoints), {}]}}
    return listed


class FakeComfyUI(LocalServer):
    """A fake ComfyUI with the command line that a test chooses."""

    def start_as(self, *argv: str, version: str = "0.99.0") -> None:
        system = {"argv": list(argv), "comfyui_version": version}
        self.answer_with("/system_stats", {"system": system, "devices": [{"type": "cuda", "name": "x"}]})

    def read_folders_of(self, base: Path) -> None:
        """Read the folders of a base directory, and find the checkpoint there."""
        folders = {"custom_nodes": [f"{base}/custom_nodes"]}
        folders["checkpoints"] = [f"{base}/models/checkpoints", f"{base}/output/checkpoints"]
        self.answer_with("/internal/folder_paths", folders)
        self.answer_with("/models/checkpoints", [CHECKPOINT])

    def answer_with(self, path: str, payload: object) -> None:
        self.pages[path] = Reply(orjson.dumps(payload))


@pytest.fixture
def server() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as running:
        running.answer_with("/object_info", nodes())
        yield running


@pytest.fixture
def host(tmp_path: Path, server: FakeComfyUI) -> Host:
    host = Host(tmp_path, comfyui__url=server.url)
    server.start_as("main.py")
    server.read_folders_of(host.comfyui)
    host.write("a.json")
    return host


def test_running_server_is_reported_with_its_version(host: Host) -> None:
    status = host.status()
    assert (status.host.comfyui_running, status.host.comfyui_version) == (True, "0.99.0")
    assert status.summary.ready == 1


@pytest.mark.slow
def test_class_that_the_server_does_not_list_is_missing(host: Host, server: FakeComfyUI) -> None:
    assert host.status().summary.ready == 1
    without = nodes()
    del without["KSampler"]
    server.answer_with("/object_info", without)
    (entry,) = host.status().workflows
    assert [(one.class_type, one.state) for one in entry.missing_nodes] == [("KSampler", "import_failed")]


@pytest.mark.slow
def test_class_that_only_the_server_lists_is_present(host: Host, server: FakeComfyUI) -> None:
    host.write("a.json", last="MadeAtRunTime")
    assert host.status().summary.ready == 0
    server.answer_with("/object_info", nodes("MadeAtRunTime"))
    assert host.status().summary.ready == 1


@pytest.mark.slow
def test_replaced_class_is_uncertain_because_its_successor_may_lack_inputs(host: Host, server: FakeComfyUI) -> None:
    host.write("a.json", orjson.dumps({"1": {"class_type": "OldNode", "inputs": {}, "_meta": {"title": "Old"}}}))
    server.answer_with("/node_replacements", {"OldNode": [{"new_node_id": "NewNode"}]})
    (absent,) = host.status().workflows
    assert "replaces it by" not in (absent.missing_nodes[0].evidence or "")
    server.answer_with("/object_info", nodes("NewNode"))
    (entry,) = host.status().workflows
    assert entry.status == "UNCERTAIN"
    assert "replaces it by NewNode" in (entry.missing_nodes[0].evidence or "")


@pytest.mark.slow
def test_class_that_only_a_prompt_can_have_replaced_is_missing(host: Host, server: FakeComfyUI) -> None:
    server.answer_with("/object_info", nodes("NewNode"))
    server.answer_with("/node_replacements", {"OldNode": [{"new_node_id": "NewNode"}]})
    host.write("a.json", last="OldNode")
    (entry,) = host.status().workflows
    assert entry.status == "MISSING"
    assert "replace the node by NewNode" in (entry.missing_nodes[0].fix or "")


@pytest.mark.slow
def test_choices_of_the_server_decide_on_models(host: Host, server: FakeComfyUI) -> None:
    host.model("checkpoints/new.safetensors")
    server.answer_with("/models/checkpoints", [CHECKPOINT, "new.safetensors"])
    host.write("a.json", checkpoint="new.safetensors")
    (entry,) = host.status().workflows
    assert entry.status == "MISSING"
    assert "does not offer it: restart it" in (entry.missing_models[0].fix or "")
    server.answer_with("/object_info", nodes(checkpoints=(CHECKPOINT, "new.safetensors", "elsewhere.safetensors")))
    host.write("b.json", checkpoint="elsewhere.safetensors")
    assert host.status().summary.ready == 2


def test_broken_file_is_not_ready_though_the_server_offers_it(host: Host) -> None:
    host.model(f"checkpoints/{CHECKPOINT}", safetensors()[:-4])
    assert host.status().summary.missing == 1


def is_ignored(host: Host, status: MasterStatus) -> bool:
    return not status.host.comfyui_running and status.host.comfyui_version == host.installation.version


@pytest.mark.slow
def test_server_of_another_installation_is_ignored(host: Host, server: FakeComfyUI) -> None:
    # Its classes would make this workflow READY.
    host.write("a.json", last="OnlyThere")
    server.answer_with("/object_info", nodes("OnlyThere"))
    assert host.status().summary.ready == 1
    server.read_folders_of(host.folder / "other")
    status = host.status()
    assert is_ignored(host, status)
    assert status.summary.ready == 0
    (note,) = status.problems
    assert note.startswith(f"Another ComfyUI responds at {server.url} and is ignored: it reads node packs from")
    assert status.host.ignored_server == note
    assert note.rstrip(".") in host.invoke("status").output
    assert "(not queried)" in host.layout.status_markdown.read_text()


@pytest.mark.slow
def test_unidentified_server_is_ignored(host: Host, server: FakeComfyUI) -> None:
    # Its arguments name the watched one, but may come from another machine.
    server.start_as(str(host.comfyui / "main.py"))
    del server.pages["/internal/folder_paths"]
    status = host.status()
    assert is_ignored(host, status)
    (note,) = status.problems
    assert note.startswith(f"The ComfyUI at {server.url} is ignored, because it is not known whether it is the one in")
    assert status.host.ignored_server == note
    assert "/object_info" not in {asked.path for asked in server.asked}


@pytest.mark.slow
def test_server_with_other_models_is_ignored(host: Host, server: FakeComfyUI) -> None:
    server.answer_with("/models/checkpoints", ["other.safetensors"])
    status = host.status()
    assert is_ignored(host, status)
    assert "not the same content (checkpoints/" in status.problems[0]


@pytest.mark.slow
def test_stated_base_directory_must_be_the_watched_one(host: Host, server: FakeComfyUI) -> None:
    server.start_as("main.py", "--base-directory=/data")
    assert not host.status().host.comfyui_running


@pytest.mark.slow
def test_ignored_server_is_no_longer_reported_once_it_is_gone(host: Host, server: FakeComfyUI) -> None:
    server.read_folders_of(host.folder)
    assert host.status().host.ignored_server
    host.set(comfyui__url="")
    assert host.status().host.ignored_server is None


@pytest.mark.parametrize("path", ["/system_stats", "/object_info"])
@pytest.mark.parametrize("reply", [Reply(b"<html>not me</html>"), Reply(b"[]"), Reply(b"oops", 500)])
@pytest.mark.slow
def test_server_that_is_not_comfyui_is_a_problem(host: Host, server: FakeComfyUI, path: str, reply: Reply) -> None:
    server.pages[path] = reply
    status = host.status()
    assert is_ignored(host, status)
    assert f"The ComfyUI at {server.url} could not be queried" in status.problems[0]
    assert status.summary.ready == 1


@pytest.mark.parametrize("path", ["/system_stats", "/object_info", "/node_replacements"])
@pytest.mark.slow
def test_hanging_server_takes_no_longer_than_the_timeout(host: Host, server: FakeComfyUI, path: str) -> None:
    server.pages[path] = lambda *_: Reply() if server.leave.wait(100) else None
    host.set(comfyui__timeout_seconds=0.3)
    began = time.monotonic()
    status = host.status()
    assert time.monotonic() - began < 60
    assert is_ignored(host, status)
    assert "could not be queried" in status.problems[0]


def test_stopped_server_is_not_a_problem(host: Host) -> None:
    host.set(comfyui__url="http://127.0.0.1:1")
    status = host.status()
    assert is_ignored(host, status)
    assert status.problems == ()


def test_sample_host_queries_no_server(host: Host, server: FakeComfyUI) -> None:
    host.cycle(sample=True)
    assert server.asked == []


@pytest.mark.slow
def test_verdicts_change_back_when_the_server_stops(host: Host, server: FakeComfyUI) -> None:
    host.write("a.json", last="MadeAtRunTime")
    server.answer_with("/object_info", nodes("MadeAtRunTime"))
    assert host.status().summary.ready == 1
    host.set(comfyui__url="")
    assert host.status().summary.ready == 0


SAMPLER: dict[str, Any] = {
    "model": ["MODEL", {}],
    "seed": ["INT", {"control_after_generate": True}],
    "steps": ["INT", {}],
    "cfg": ["FLOAT", {}],
    "sampler_name": None,
    "scheduler": [["normal"], {}],
    "denoise": ["FLOAT", {}],
}
SOURCE = b"""
class Sampler:
    RETURN_TYPES = ("LATENT",)
class Save:
    pass
NODE_CLASS_MAPPINGS = {"KSampler": Sampler, "SaveImage": Save}
"""


def saving(info: dict[str, Any], *, output: bool = True) -> dict[str, Any]:
    info["SaveImage"]["input"] = {"required": {"images": ["IMAGE", {}], "filename_prefix": ["STRING", {}]}}
    info["VAEDecode"]["input"] = {"required": {"samples": ["LATENT", {}], "vae": ["VAE", {}]}}
    for name, one in info.items():
        one["output_node"] = output and name == "SaveImage"
    return info


@pytest.mark.slow
def test_value_that_the_server_does_not_offer_is_missing(host: Host, server: FakeComfyUI) -> None:
    source = (host.comfyui / "nodes.py").read_bytes()
    put(host.comfyui / "nodes.py", source + SOURCE)
    info = saving(nodes())
    info["KSampler"]["input"] = {"required": SAMPLER | {"sampler_name": [["euler", "dpmpp_2m"], {}]}}
    server.answer_with("/object_info", info)
    (entry,) = host.status().workflows
    assert (entry.status, entry.refused_inputs) == ("READY", ())
    first_ready = entry.last_resolved_at
    info["KSampler"]["input"] = {"required": SAMPLER | {"sampler_name": [["other"], {}]}}
    server.answer_with("/object_info", info)
    (entry,) = host.status().workflows
    assert entry.status == "MISSING"
    assert [(one.input, one.value, one.node_type) for one in entry.refused_inputs] == [
        ("sampler_name", "euler", "KSampler")
    ]
    report = host.layout.status_markdown.read_text()
    assert "edit: KSampler: sampler_name" in report
    assert "Nothing to do" not in report
    put(host.comfyui / "nodes.py", source + SOURCE.replace(b"RETURN_TYPES", b"VALIDATE_INPUTS"))
    (entry,) = host.status().workflows
    assert entry.status == "READY"
    assert (entry.last_resolved_at or "") > (first_ready or "")


@pytest.mark.slow
def test_workflow_without_an_output_is_invalid(host: Host, server: FakeComfyUI) -> None:
    server.answer_with("/object_info", saving(nodes()))
    assert host.status().summary.ready == 1
    server.answer_with("/object_info", saving(nodes(), output=False))
    (entry,) = host.status().workflows
    assert (entry.status, entry.problems[0].code) == ("INVALID", "nothing-to-run")
