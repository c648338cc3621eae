"""The promises of the plan: every step that is carried out makes the number of workflows ready that it names."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import orjson
import pytest

from comfywatchman.readiness.report.needs import ActionKind, PlannedAction
from comfywatchman.readiness.report.overview import build_overview
from comfywatchman.readiness.status import MasterStatus
from tests.hosts import Host, graph

pytestmark = pytest.mark.slow

MODELS = [f"{folder}/model-{n}.safetensors" for folder in ("sd15", "sdxl/turbo") for n in range(12)]


def write_workflows(host: Host, count: int) -> None:
    """Write workflows that lack models, packs, both or nothing, some of which nothing can be promised for."""
    chosen = random.Random(15)  # noqa: S311 - the host only has to be the same in each run
    for number in range(count):
        lora = chosen.choice([None, *MODELS])
        checkpoint = chosen.choice(["sample_model.safetensors", "other/base.safetensors", "gone.safetensors"])
        workflow = orjson.loads(graph(checkpoint=checkpoint, lora=lora))
        if number % 5 == 0:
            save = next(node for node in workflow["nodes"] if node["type"] == "SaveImage")
            save["type"] = f"Class{number % 3}"
            save["properties"] = {"cnr_id": f"pack-Class{number % 3}"}
        if number % 11 == 0 and lora:
            workflow = orjson.loads(orjson.dumps(workflow).replace(lora.encode(), lora.replace("/", "\\\\").encode()))
        if number % 13 == 0:
            workflow["nodes"][0]["type"] = "NobodyKnows"
        host.write(f"group {number % 4}/{number:04}.json", orjson.dumps(workflow))
    host.model("checkpoints/base.safetensors")


def carry_out(host: Host, action: PlannedAction) -> None:
    """Do what an action says, by its command where that needs no other host."""
    if action.kind is ActionKind.LINK:
        result = host.program("download", action.name, "--yes")
        assert result.returncode == 0, result.stderr
    elif action.kind is ActionKind.INSTALL:
        host.pack(action.pack.removeprefix("pack-"))
    else:
        assert action.kind is ActionKind.FIND
        # The printed path, as a person would save the file.
        host.model(action.target.removeprefix("models/"))


def check_plan(host: Host, *, rounds: int) -> None:
    for _round in range(rounds):
        status = host.status()
        steps = build_overview(status).steps
        for step in steps[:3]:
            for action in step.actions:
                carry_out(host, action)
            assert host.status().summary.ready == step.ready_after
        if not steps:
            return


def check_texts(host: Host, status: MasterStatus) -> None:
    """Check that the report is short, repeats no sentence, and prints names that the commands accept."""
    text = host.layout.status_markdown.read_text("utf-8")
    above = text.partition("<details>")[0].splitlines()
    assert len(above) <= 45
    sentences = re.findall(r"[A-Z][^.|\n`]{20,}\.(?:\s|$)", text)
    assert max((sentences.count(sentence) for sentence in set(sentences)), default=0) <= 3
    waiting = [line for line in text.splitlines() if line.startswith("- `group ")]
    assert len(waiting) <= len(status.workflows) + 50
    assert len(host.invoke("status").stdout.splitlines()) <= 40


def test_every_step_makes_the_promised_number_ready(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write_workflows(host, 126)
    status = host.status()
    check_texts(host, status)
    assert build_overview(status).count_gain(5) > 20
    check_plan(host, rounds=2)


def test_every_printed_command_is_accepted(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write_workflows(host, 40)
    host.cycle()
    commands = [
        line.strip() for line in host.invoke("status").stdout.splitlines() if line.startswith("   comfywatchman ")
    ]
    assert commands
    for command in commands:
        result = host.program(*_split(command))
        # A model without a source stays without one, and nothing is confirmed without a terminal.
        assert result.returncode in {0, 1}, result.stderr
        assert b"workflow-unknown" not in result.stderr
        assert b"download-plan-invalid" not in result.stderr


def _split(command: str) -> list[str]:
    words = subprocess.run(["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    arguments = [word.decode() for word in words.split(b"\0")[:-1]]
    # The host adds its own home.
    return arguments[3:]


@pytest.mark.torture
def test_report_of_a_thousand_workflows_is_as_short(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write_workflows(host, 1000)
    check_texts(host, host.status())
    check_plan(host, rounds=1)
