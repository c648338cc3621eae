from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec
import pytest

from comfywatchman.cli.text.status_text import (
    MAX_LINES,
    ReportView,
    complete_command,
    format_status,
    format_trouble,
    read_width,
)
from comfywatchman.cli.text.wrapping import measure_width
from comfywatchman.readiness.plan_summary import BlockedDownload, PlanSummary
from comfywatchman.readiness.report.troubles import Trouble, TroubleKind
from comfywatchman.readiness.states import NodeRemedy, WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, StartProblem
from tests.readiness.report.findings import entry, model, newer, node
from tests.readiness.report.sample_reports import never, status

NOW = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)
VALID = "2026-11-20T16:15:00Z"


def lines_of(report: MasterStatus, *, width: int = 80, program: tuple[str, ...] = ("comfywatchman",)) -> list[str]:
    return [click.unstyle(line) for line in format_status(report, ReportView(NOW, width, program))]


def ready(*entries: object, **changes: object) -> MasterStatus:
    return status(*entries, valid_until=VALID, problems=(), **changes)  # type: ignore[arg-type]


def test_status_ends_with_what_to_do() -> None:
    found = model("x/a.pt", answer="FOUND", size_bytes=335_000_000)
    lines = lines_of(
        ready(
            entry("/w/1.json", missing_models=(found,)),
            entry("/w/2.json", missing_models=(found,)),
            entry("/w/3.json", missing_nodes=(newer("0.99.0"),), missing_models=(found,)),
        )
    )
    assert lines == [
        "0 of 3 workflows ready",
        "2 steps would make 3 more ready.",
        "ComfyUI words (not running) in words",
        "Checked 12 min ago (14:00), next check by 16:15",
        "",
        "Missing        Count  Workflows waiting",
        "Models             1                  3",
        "Newer ComfyUI      1                  1",
        "All: comfywatchman status --all",
        "",
        "Do this first (+2: makes 2 more workflows ready)",
        "1. +2 Download LoRA, 335 MB",
        "   models/loras/x/a.pt",
        "   comfywatchman download x/a.pt",
        "2. +1 Update ComfyUI from words to 0.99.0 or newer, after step 1",
        "   https://docs.comfy.org/installation/update_comfyui",
    ]


def test_ready_host_has_nothing_to_do() -> None:
    lines = lines_of(ready(entry("/w/1.json", status=WorkflowStatus.READY)))
    assert (lines[0], lines[-1]) == ("1 of 1 workflows ready", "Nothing to do.")


def test_host_without_workflows_or_check_says_so() -> None:
    assert "Save a workflow in ComfyUI" in lines_of(ready())[-1]
    assert lines_of(never())[0] == "No check has run yet"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("count", [1, 126, pytest.param(1000, marks=pytest.mark.slow)])
def test_report_of_any_size_is_one_screen(count: int, width: int) -> None:
    entries = [
        entry(
            f"/w/sub/workflow {n}.json",
            missing_models=tuple(model(f"kind-{n % 9}/long model name {n % 40}-{k}.safetensors") for k in range(5)),
            missing_nodes=(node(f"Class{n}", f"pack-{n % 7}", remedy=NodeRemedy.INSTALL_PACK), newer("0.99.0")),
        )
        for n in range(count)
    ]
    single = [entry(f"/w/{n}.json", missing_models=(model(f"{n}.pt"), model(f"{n}b.pt"))) for n in range(count)]
    problems = tuple(StartProblem(f"/configuration/of/{n}.yaml", n, "it is wrong " * 9, "Write one.") for n in range(5))
    for report in (ready(*entries, *single), ready(*single, start_problems=problems), ready(*entries)):
        lines = lines_of(report, width=width)
        assert len(lines) <= MAX_LINES
        words = [word for line in lines for word in line.split()]
        assert all(measure_width(line) <= max(width, *map(measure_width, words)) for line in lines)


def test_steps_are_dropped_before_the_table() -> None:
    models = [tuple(model(f"{n}-{k}.pt", answer="FOUND") for k in range(5)) for n in range(5)]
    lines = lines_of(ready(*[entry(f"/w/{n}.json", missing_models=some) for n, some in enumerate(models)]), width=60)
    assert len(lines) <= MAX_LINES
    assert sum(line.startswith(("1.", "2.", "3.", "4.", "5.")) for line in lines) < 5


def test_trouble_of_the_watch_comes_first() -> None:
    stopped = Trouble(TroubleKind.WATCH, "The watch has stopped", "a check was due 1 h ago (13:12)")
    report = ready(entry("/w/1.json"), start_problems=(StartProblem("/c/x.yaml", 1, "no value", "Write one."),))
    lines = [click.unstyle(line) for line in format_status(report, ReportView(NOW, 80, troubles=(stopped,)))]
    assert lines[lines.index("") + 1] == "Error: The watch has stopped: a check was due 1 h ago (13:12)."


def test_more_than_three_troubles_name_the_command_that_lists_them() -> None:
    problems = tuple(StartProblem(f"/c/{n}.yaml", n, "no value", "Write one.") for n in range(5))
    lines = lines_of(ready(entry("/w/1.json"), start_problems=problems))
    assert sum(line.startswith("Error: ComfyUI cannot start") for line in lines) == 3
    assert "2 more: comfywatchman doctor" in lines


@pytest.mark.parametrize(
    ("retry_at", "text"),
    [
        ("2026-11-20T14:59:00Z", "; retrying in 47 min."),
        ("2026-11-20T14:00:00Z", "; retrying with the next check."),
    ],
)
def test_trouble_with_a_site_says_when_it_is_asked_again(retry_at: str, text: str) -> None:
    trouble = Trouble(TroubleKind.SITES, "Couldn't reach Civitai", "1 model not looked up", retry_at=retry_at)
    (line,) = format_trouble(trouble, ReportView(NOW, 200))
    assert click.unstyle(line).endswith(f"1 model not looked up{text}")


def test_plan_of_several_downloads_has_one_command() -> None:
    plan = PlanSummary("/plans/c.json", 4, 9, 1)
    lines = lines_of(ready(entry("/w/1.json"), plan=plan))
    assert lines[-2:] == [
        "All 4 files that were found: comfywatchman download --plan c.json",
        "1 model is uncertain: comfywatchman resolve --all",
    ]
    blocked = tuple(BlockedDownload(name, "vae", "A pickle.") for name in ("a.pt", "b.pt"))
    for some, text in ((blocked[:1], "1 model was found, but is"), (blocked, "2 models were found, but are")):
        lines = lines_of(ready(entry("/w/1.json"), plan=msgspec.structs.replace(plan, blocked=some)))
        assert lines[-2] == f"{text} blocked: comfywatchman download --list"
    fetched = msgspec.structs.replace(plan, fetched=3, to_choose=2)
    lines = lines_of(ready(entry("/w/1.json"), plan=fetched))
    assert lines[-2].startswith("3 of 4 planned downloads came in")
    assert lines[-1] == "2 models are uncertain: comfywatchman resolve --all"


def test_step_with_two_commands_shows_both() -> None:
    missing = entry(
        "/w/1.json",
        missing_models=(model(answer="FOUND"),),
        missing_nodes=(node("Tea", "tea", remedy=NodeRemedy.INSTALL_PACK),),
    )
    lines = lines_of(ready(missing), width=60)
    start = lines.index("1. +1 Download LoRA")
    assert lines[start + 3 :] == [
        "   then install node pack tea (with ComfyUI-Manager, then",
        "   restart ComfyUI)",
        "   https://docs.comfy.org/installation/install_custom_node",
    ]


def test_commands_carry_the_options_of_this_call() -> None:
    program = ("comfywatchman", "--home", "/h")
    assert complete_command(("comfywatchman", "download", "a"), program) == (*program, "download", "a")
    assert complete_command(("gov", "init"), program) == ("gov", "--home", "/h", "init")
    assert complete_command(("other",), program) == ("other",)


def test_piped_output_is_not_wrapped() -> None:
    assert read_width() > 1000
