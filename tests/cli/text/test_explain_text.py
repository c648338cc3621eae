from __future__ import annotations

import click

from comfywatchman.cli.text.explain_text import format_explanation
from comfywatchman.readiness.report.explanation import Explanation
from comfywatchman.readiness.report.step_text import StepPart
from comfywatchman.readiness.states import WorkflowStatus


def lines(explanation: Explanation, status: WorkflowStatus = WorkflowStatus.MISSING, width: int = 60) -> list[str]:
    program = ("comfywatchman", "--home", "/h")
    return [click.unstyle(line) for line in format_explanation("a.json", status, explanation, width, program)]


def test_first_lines_say_why_not_and_what_to_do() -> None:
    part = StepPart(
        "download LoRA",
        "link from the workflow",
        "335 MB",
        ("models/loras/a.pt",),
        ("comfywatchman", "download", "a.pt"),
    )
    page = StepPart("update ComfyUI", page="https://x.example")
    found = Explanation("1 of 2 models is missing.", "Do this, and it is ready:", (part, page), ("Then restart.",))
    assert lines(found) == [
        "MISSING  a.json",
        "1 of 2 models is missing.",
        "Do this, and it is ready:",
        "  comfywatchman --home /h download a.pt",
        "  download LoRA, 335 MB (link from the workflow)",
        "  to models/loras/a.pt",
        "  update ComfyUI",
        "  https://x.example",
        "  Then restart.",
    ]


def test_ready_workflow_has_two_lines() -> None:
    found = Explanation("Nothing is missing.")
    assert lines(found, WorkflowStatus.READY) == ["READY  a.json", "Nothing is missing."]
