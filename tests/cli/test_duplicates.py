from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.model("loras/one.safetensors")
    host.model("loras/sub/two.safetensors")
    return host


def test_unhashed_files_of_one_size_are_counted(host: Host) -> None:
    result = host.invoke("duplicates")
    assert result.exit_code == 0
    assert result.output == (
        "No model is known to exist more than once.\n"
        "3 more files have the same size as another and no hash yet: add --hash to be sure.\n"
    )


def test_equal_models_are_listed_with_their_saving(host: Host) -> None:
    result = host.invoke("duplicates", "--hash")
    lines = result.output.splitlines()
    assert lines[0] == "SHA-256\tSize\tFile\tHard links would free"
    assert [line.split("\t")[2].rpartition("models/")[2] for line in lines[1:4]] == [
        "checkpoints/sample_model.safetensors",
        "loras/one.safetensors",
        "loras/sub/two.safetensors",
    ]
    # Hash and saving stand in the first row of a group only.
    assert [bool(line.split("\t")[0]) for line in lines[1:4]] == [True, False, False]
    assert [bool(line.split("\t")[3]) for line in lines[1:4]] == [True, False, False]
    assert lines[4].startswith("1 model exists more than once; hard links would free ")


def test_linked_copies_are_no_waste(host: Host) -> None:
    for name in ("one.safetensors", "sub/two.safetensors"):
        path = host.comfyui / "models" / "loras" / name
        path.unlink()
        path.hardlink_to(host.comfyui / "models" / "checkpoints" / "sample_model.safetensors")
    assert host.invoke("duplicates", "--hash").output == "No model is known to exist more than once.\n"


def test_groups_are_printed_as_json(host: Host) -> None:
    result = json.loads(host.invoke("duplicates", "--hash", "--json").stdout)
    (group,) = result["duplicates"]
    assert len(group["copies"]) == 3
    assert (result["not_hashed"], result["linkable_bytes"]) == (0, 2 * group["size"])


def test_files_of_the_checkout_are_left_out(host: Host) -> None:
    content = (host.comfyui / "models" / "loras" / "one.safetensors").read_bytes()
    for folder in ("configs", "vae_approx"):
        (host.comfyui / "models" / folder).mkdir(exist_ok=True)
        (host.comfyui / "models" / folder / "own.safetensors").write_bytes(content)
    subprocess.run(["git", "init", "-q"], cwd=host.comfyui, check=True)
    subprocess.run(["git", "add", "-f", "models/vae_approx"], cwd=host.comfyui, check=True)
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *author, "commit", "-q", "-m", "own"], cwd=host.comfyui, check=True)
    output = host.invoke("duplicates", "--hash").output
    assert "loras/one.safetensors" in output
    assert "own.safetensors" not in output
