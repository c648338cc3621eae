from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts import Host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    found.write("official/ready.json")
    found.write("guides/same.json")
    found.write("other/same.json", lora="styles/ink.safetensors")
    found.write(b"odd-\xff.json")
    found.cycle()
    return found


@pytest.mark.parametrize("command", ["scan", "explain"])
def test_every_printed_name_of_a_workflow_is_accepted(host: Host, command: str) -> None:
    for line in host.invoke("status", "--all").stdout.splitlines()[1:5]:
        name = line.split("\t")[0]
        result = host.invoke(command, name)
        assert result.exit_code in {0, 1}, result.output
        assert "Error" not in result.stderr
    assert host.invoke(command, "ready").exit_code == 0


def test_name_of_several_workflows_lists_them(host: Host) -> None:
    result = host.program("explain", "same.json")
    assert result.returncode == 2
    assert result.stderr.decode().splitlines() == [
        "Error (workflow-unknown): 2 workflows are named same.json.",
        "Use the full name: guides/same.json, other/same.json.",
    ]


def test_unknown_name_is_answered_with_a_similar_one(host: Host) -> None:
    result = host.program("explain", "raedy.json", "--json")
    assert json.loads(result.stdout)["error"]["hint"] == "Did you mean official/ready.json?"
    result = host.program("resolve", "ink.safetensor")
    assert "Did you mean styles/ink.safetensors?" in result.stderr.decode()
    assert (
        f"comfywatchman --home {host.home} status --all lists the workflows."
        in host.program("scan", "zzzzzz").stderr.decode()
    )


def test_unknown_name_without_a_report_asks_for_a_check(tmp_path: Path) -> None:
    result = Host(tmp_path).program("scan", "a.json")
    assert result.returncode == 2
    assert "check the workflows first" in result.stderr.decode()


def test_folder_is_not_explained(host: Host) -> None:
    hint = host.program("explain", str(host.workflows)).stderr.decode()
    assert f"comfywatchman --home {host.home} scan checks folders." in hint


@pytest.mark.parametrize("name", ["styles/ink.safetensors", "ink.safetensors", "models/loras/styles/ink.safetensors"])
def test_model_is_resolved_by_every_printed_name(host: Host, name: str) -> None:
    result = host.invoke("resolve", "--json", name)
    assert [found["filename"] for found in json.loads(result.stdout)["results"]] == ["styles/ink.safetensors"]
    mixed = host.invoke("resolve", name, str(host.workflows))
    assert mixed.exit_code == 2
