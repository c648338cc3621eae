"""Jobs on a real ComfyUI: from a dropped file to the picture, and what its cache must not do to them."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from comfywatchman.cli.main import main
from comfywatchman.jobs.execution.outputs import write_outputs
from comfywatchman.jobs.execution.prompt_changes import force_outputs, set_unique_prefixes
from comfywatchman.jobs.execution.prompt_run import PromptRunner, invoke_comfyui
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, RunLimits

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed, Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

PNG_SIZE = slice(16, 24)


def build_image(node: str, **inputs: Any) -> dict[str, dict[str, Any]]:
    image = {"width": 48, "height": 32, "batch_size": 1, "color": 255}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": node, "inputs": {"images": ["1", 0], **inputs}},
    }


def call(home: Path, *arguments: str) -> Any:
    options = ["--home", str(home), "--config", str(home / "config.toml")]
    result = CliRunner().invoke(main, [*options, "jobs", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def home(real_comfyui: Server, real_comfyui_installed: Installed, tmp_path: Path) -> Path:
    """A home folder with the samples, on the host of the real ComfyUI."""
    text = (
        f'[comfyui]\nroot = "{real_comfyui_installed.tree}"\nurl = "{real_comfyui.url}"\n'
        f'[jobs]\ncomfyui_url = "{real_comfyui.url}"\nmin_free_disk_gb = 0.0\npoll_interval_ms = 50\n'
    )
    (tmp_path / "config.toml").write_text(text, "utf-8")
    call(tmp_path, "init")
    return tmp_path


@pytest.fixture
def runner(real_comfyui: Server) -> Iterator[PromptRunner]:
    with PromptRunner(real_comfyui.url, RunLimits()) as runner:
        yield runner


def run(runner: PromptRunner, prompt: dict[str, dict[str, Any]]) -> PromptRun:
    return runner.run(prompt, prompt_id=str(uuid.uuid4()), extra_data={}, watch=lambda _progress: None)


def test_dropped_file_becomes_a_picture(home: Path) -> None:
    (example,) = (home / "jobs" / "examples").glob("*first-picture.yaml")
    (home / "jobs" / "processing" / "image" / example.name).write_bytes(example.read_bytes())
    job = call(home, "run", "--once")["job"]
    assert (job["status"], job["run_count"], job["retries_attempted"]) == ("done", 1, 0)
    assert job["duration"] > 0
    assert job["metadata"]["run_seconds"] >= 0
    folder = home / "jobs" / "finished" / "image" / example.stem
    (picture,) = folder.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (home / "jobs" / "finished" / "image" / example.name).is_file()
    result = json.loads((folder / "result.json").read_bytes())
    assert result["comfyui"]["version"]
    assert result["runs"][0]["files"][0]["sha256"] == job["metadata"]["files"][0]["sha256"]


def test_host_publishes_which_workflows_are_ready(home: Path) -> None:
    call(home, "add", "first-picture")
    call(home, "run")
    (host,) = call(home, "hosts")["hosts"]
    assert host["ready"] == ["first-picture"]
    assert "v1-5-pruned-emaonly-fp16.safetensors" in host["reasons"]["text-to-image"]


def test_same_job_twice_is_computed_twice(home: Path) -> None:
    for _ in range(2):
        call(home, "add", "first-picture")
    ended = [call(home, "run")["job"] for _ in range(2)]
    assert [(job["status"], len(job["metadata"]["files"])) for job in ended] == [("done", 1), ("done", 1)]


def test_unchanged_output_node_runs_again_when_forced(runner: PromptRunner) -> None:
    prompt = build_image("PreviewImage")
    first, second = run(runner, prompt), run(runner, prompt)
    assert (first.end, second.end) == (RunEnd.SUCCESS, RunEnd.SUCCESS)
    names = [str(run(runner, force_outputs(prompt, uuid.uuid4().hex)).entry["outputs"]) for _ in range(2)]
    assert "filename" in names[0]
    assert names[0] != names[1]


def test_unique_prefix_makes_a_file_of_its_own(runner: PromptRunner) -> None:
    prompt = build_image("SaveImage", filename_prefix="jobs/cat")
    for token in ("a1", "b2"):
        entry = run(runner, set_unique_prefixes(prompt, token)).entry
        assert f"cat_{token}_00001_.png" in str(entry["outputs"])


def test_refused_and_failed_prompts_are_told_apart(runner: PromptRunner) -> None:
    unknown = run(runner, {"1": {"class_type": "NoSuchNode", "inputs": {}}})
    assert unknown.end is RunEnd.REFUSED
    assert "NoSuchNode" in unknown.reason
    wrong = build_image("SaveImage", filename_prefix="x")
    wrong["1"]["inputs"]["width"] = -1
    assert run(runner, wrong).end is RunEnd.REFUSED


def test_functions_of_the_seed_write_the_picture(real_comfyui: Server, tmp_path: Path) -> None:
    result = invoke_comfyui(real_comfyui.url, build_image("SaveImage", filename_prefix=uuid.uuid4().hex), 60)
    written = write_outputs(result, {"folder": str(tmp_path), "name": "cat"})
    content = Path(written["saved"][0]).read_bytes()
    assert struct.unpack(">II", content[PNG_SIZE]) == (48, 32)
