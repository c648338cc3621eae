"""`scan` and `explain`: the same verdicts as a cycle's, and no trace on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfywatchman.readiness.sample.workflows import build_png_with_text
from tests.hosts import Host, graph, tree
from tests.model_files import put
from tests.servers.base import LocalServer, Reply


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_ready_workflow_exits_with_0(host: Host) -> None:
    result = host.invoke("scan", host.write("a.json"))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split("\t")[1:] == ["READY", "0", "0", ""]


def test_workflow_that_is_not_ready_exits_with_1(host: Host) -> None:
    host.write("a.json", lora="absent.safetensors", last="MyNode")
    host.write("b.json")
    host.write("broken.json", b"{")
    result = host.invoke("scan", host.workflows)
    assert result.exit_code == 1
    rows = [line.split("\t") for line in result.stdout.splitlines()[1:]]
    assert [row[1] for row in rows] == ["MISSING", "READY", "INVALID"]
    assert rows[0][4] == "MyNode, absent.safetensors"
    assert rows[2][4]


@pytest.mark.slow
def test_scan_agrees_with_a_cycle(host: Host) -> None:
    host.write("a.json", lora="absent.safetensors")
    host.write("b.json")
    host.write("c.png", build_png_with_text("workflow", graph(last="MyNode")))
    found = json.loads(host.invoke("scan", host.workflows, "--json").stdout)
    entries = {one["path"]: one for one in host.report_after_cycle()["workflows"]}
    assert len(found["workflows"]) == len(entries) == 3
    for one in found["workflows"]:
        entry = entries[one["path"]]
        assert (one["status"], one["sha256"]) == (entry["status"], entry["sha256"])
        assert len(one.get("missing_models", ())) == len(entry["missing_models"])


@pytest.mark.slow
def test_folder_without_workflows_exits_with_1(host: Host) -> None:
    assert host.invoke("scan", host.workflows).exit_code == 1


def test_unreadable_file_is_a_problem(host: Host) -> None:
    host.write("a.json")
    os.mkfifo(host.workflows / "pipe.json")
    result = host.invoke("scan", host.workflows)
    assert "pipe.json: not a regular file" in result.stderr
    assert result.exit_code == 0
    assert "not a regular file" in json.loads(host.invoke("scan", host.workflows, "--json").stdout)["problems"][0]


def test_unusual_file_names_are_escaped(host: Host) -> None:
    host.write(b"\xff\x1b[2J\n.json")
    result = host.invoke("scan", host.workflows)
    assert r"\xff\x1b[2J\n.json" in result.stdout.replace("\\\\", "\\")
    assert "\x1b" not in result.stdout


@pytest.mark.slow
def test_scan_and_explain_write_no_state(host: Host) -> None:
    registry = Reply(b'{"id": "my-pack", "name": "My pack", "repository": "https://example.org/my-pack"}')
    put(host.comfyui / "custom_nodes/ComfyUI-Manager/extension-node-map.json", b'{"https://x/y": [["Other"], {}]}')
    path = host.write("a.json", last="MyNode", lora="absent.safetensors")
    host.write("b.png", build_png_with_text("Author", b"me"))
    with LocalServer({"/comfy-nodes/MyNode/node": registry, "/map.json": Reply(b"{}")}) as server:
        host.set(nodes__ask_registry=True, nodes__registry_url=server.url)
        host.set(nodes__class_map_url=f"{server.url}/map.json")
        before = tree(host.home, host.comfyui)
        for command in (["scan"], ["scan", "--json"], ["explain"]):
            result = host.invoke(*command, path if command == ["explain"] else host.workflows)
            assert result.exit_code == 1, result.output
            assert tree(host.home, host.comfyui) == before
        assert "My pack" in host.invoke("explain", path).stdout
        assert {asked.path for asked in server.asked} == {"/comfy-nodes/MyNode/node"}
    ended = host.program("scan", str(host.workflows))
    assert ended.returncode == 1
    assert tree(host.home, host.comfyui) == before


def test_scan_downloads_no_class_map(host: Host) -> None:
    with LocalServer({"/map.json": Reply(b'{"https://x/y": [["MyNode"], {}]}')}) as server:
        host.set(nodes__class_map_url=f"{server.url}/map.json")
        before = tree(host.home, host.comfyui)
        host.invoke("scan", host.write("a.json", last="MyNode").parent)
        assert server.asked == []
        host.workflows.joinpath("a.json").unlink()
        assert tree(host.home).items() <= before.items()


def test_explanation_shows_all_references_and_classes(host: Host) -> None:
    path = host.write("a.json", lora="sub\\absent.safetensors", last="MyNode")
    result = host.invoke("explain", path)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"MISSING  {path}"
    assert lines[2] == "Do this first; the rest is below:"
    assert "Format ui-0.4, json" in lines
    assert any("absent.safetensors" in line and "missing" in line for line in lines)
    assert any(line.startswith("MyNode\t1\tunknown") for line in lines)
    assert any(line.startswith("KSampler\t1\tpresent") for line in lines)
    assert any("Put the file into" in line for line in lines)


def test_explanation_marks_inactive_nodes(host: Host) -> None:
    result = host.invoke("explain", host.write("a.json", lora="absent.safetensors", lora_muted=True))
    assert result.exit_code == 0
    assert "missing (inactive)" in result.stdout
    assert "LoraLoader\t0\tinactive" in result.stdout


def test_explanation_is_printed_as_json(host: Host) -> None:
    facts = json.loads(host.invoke("explain", "--json", host.write("a.json", lora="absent.safetensors")).stdout)
    assert {one["value"]: one["state"] for one in facts["references"]} == {
        "sample_model.safetensors": "exact",
        "absent.safetensors": "missing",
    }
    assert facts["judged"]["status"] == "MISSING"
    assert "KSampler" in facts["classes"]


def test_explanation_of_a_broken_file_shows_its_problem(host: Host) -> None:
    result = host.invoke("explain", host.write("a.json", b"{"))
    assert result.exit_code == 1
    assert result.stdout.startswith("INVALID  ")
    assert "Format unreadable, json" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["scan", "explain"])
def test_missing_path_exits_with_2(host: Host, command: str) -> None:
    assert host.program(command, str(host.folder / "absent.json")).returncode == 2


@pytest.mark.slow
def test_image_without_workflow_cannot_be_explained(host: Host) -> None:
    ended = host.program("explain", str(host.write("a.png", build_png_with_text("Author", b"me"))))
    assert ended.returncode == 1
    assert b"workflow-not-a-workflow" in ended.stderr
    assert b"Save one from ComfyUI's menu" in ended.stderr


@pytest.mark.parametrize("command", ["scan", "explain"])
@pytest.mark.slow
def test_scan_needs_a_comfyui(host: Host, command: str) -> None:
    path = host.write("a.json")
    host.variables.pop("COMFYUI_ROOT")
    path = path.rename(host.folder / "a.json")
    host.comfyui.rename(host.folder / "hidden")
    ended = host.program(command, str(path))
    assert ended.returncode == 1
    assert b"comfyui-not-found" in ended.stderr
    assert b"COMFYUI_ROOT=/path/to/ComfyUI" in ended.stderr


PICTURE = b'{"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}'


@pytest.mark.slow
def test_explanation_shows_input_files(host: Host) -> None:
    path = host.write("a.json", PICTURE)
    result = host.invoke("explain", path)
    assert result.exit_code == 0
    assert "1\tLoadImage\timage\tinput\ta.png\tPut it into input, or choose another picture" in result.stdout
    assert "  Needs a picture: a.png\n" in result.stdout
    facts = json.loads(host.invoke("explain", path, "--json").stdout)
    assert [(one["name"], one["required"]) for one in facts["missing_inputs"]] == [("a.png", False)]
    put(host.comfyui / "input/a.png")
    result = host.invoke("explain", path)
    assert "1\tLoadImage\timage\tinput\ta.png\tpresent\n" in result.stdout
    assert "Needs" not in result.stdout


@pytest.mark.slow
def test_required_input_counts_as_in_a_cycle(host: Host) -> None:
    path = host.write("a.json", PICTURE)
    assert host.invoke("scan", path).exit_code == 0
    host.set(workflows__require_inputs=True)
    result = host.invoke("scan", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].split("\t")[1:] == ["MISSING", "0", "0", "a.png"]
    (found,) = json.loads(host.invoke("scan", path, "--json").stdout)["workflows"]
    assert (found["status"], found["missing_inputs"][0]["name"]) == ("MISSING", "a.png")
    assert host.entry("a.json").status == "MISSING"


def test_configured_input_folder_is_used(host: Host, tmp_path: Path) -> None:
    path = host.write("a.json", PICTURE)
    put(tmp_path / "mine/a.png")
    host.set(comfyui__input_directory=tmp_path / "mine", workflows__require_inputs=True)
    assert host.invoke("scan", path).exit_code == 0


@pytest.mark.slow
def test_packs_without_confirmation_are_named(host: Host) -> None:
    host.pack("Mine")
    path = host.write("a.json", last="Mine")
    for command in ("scan", "explain"):
        result = host.invoke(command, path)
        assert (result.exit_code, "can import the pack pack-Mine." in result.stdout) == (0, True)
    facts = json.loads(host.invoke("scan", "--json", path).stdout)
    assert facts["workflows"][0]["unconfirmed_packs"] == ["pack-Mine"]


@pytest.mark.slow
def test_choices_that_only_a_server_knows_are_named(host: Host) -> None:
    source = """
import platform
class Mine:
    OUTPUT_NODE, RETURN_TYPES, FUNCTION, CATEGORY = True, (), "run", "tests"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"mode": (list(platform.uname()), {})}}
NODE_CLASS_MAPPINGS = {"Mine": Mine}
"""
    put(host.comfyui / "custom_nodes/pack-Mine/__init__.py", source.encode())
    path = host.write("a.json", b'{"1": {"class_type": "Mine", "inputs": {"mode": "a"}}}')
    for command in ("scan", "explain"):
        assert "only ComfyUI itself can check: mode of Mine." in host.invoke(command, path).stdout
    facts = json.loads(host.invoke("scan", "--json", path).stdout)
    assert facts["workflows"][0]["unchecked_choices"] == [{"node_type": "Mine", "input": "mode"}]
    assert host.entry("a.json").unchecked_choices
    assert "only ComfyUI itself can check" in host.layout.status_markdown.read_text("utf-8")
