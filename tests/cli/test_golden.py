"""What people see, as files that are reviewed: help, `status`, `explain`, `doctor` and errors.

Everything is rendered from fixed values, so that no machine, time zone or order of tests changes a file.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.base.errors import Failure
from comfywatchman.cli.doctor import format_checks
from comfywatchman.cli.main import COMMANDS, main
from comfywatchman.cli.text.explain_text import format_explanation
from comfywatchman.cli.text.status_text import ReportView, format_status
from comfywatchman.readiness.host_summary import HostSummary
from comfywatchman.readiness.report.explanation import explain_workflow
from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.report.step_text import HostFacts
from comfywatchman.readiness.states import NodeRemedy, WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, StartProblem
from tests.cli.golden_files import FOLDER, IS_UPDATING, compare_golden
from tests.hosts import Host
from tests.readiness.report.findings import entry, model, newer, node
from tests.readiness.report.sample_reports import status

NOW = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)
WIDTHS = (60, 80, 120)
HELP_WIDTH = 80
PROGRAM = ("comfywatchman", "--home", "/home/ada/watch")
LONG_NAME = "wan2.2/high_noise/Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ_with_a_name_that_is_long.safetensors"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show local times in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def build_report() -> MasterStatus:
    """Return the report of a host with something of everything."""
    found = model("sd15/detail.safetensors", answer="FOUND", size_bytes=335_000_000)
    long = model(LONG_NAME, folder="diffusion_models", answer="NOT_FOUND")
    pack = node("ImpactWildcard", "comfyui-impact-pack", remedy=NodeRemedy.INSTALL_PACK)
    folder = "/home/ada/ComfyUI/user/default/workflows"
    entries = [
        entry(f"{folder}/ready.json", status=WorkflowStatus.READY),
        *[entry(f"{folder}/portraits/{n}.json", missing_models=(found,)) for n in range(3)],
        entry(f"{folder}/video/image to video, upscaled and interpolated.json", missing_models=(long,)),
        entry(f"{folder}/wildcards.json", missing_nodes=(pack,), missing_models=(found,)),
        entry(f"{folder}/new.json", missing_nodes=(newer("0.4.1"),)),
    ]
    problem = StartProblem("/home/ada/ComfyUI/extra_model_paths.yaml", 3, "there is no value", "Write one.")
    return status(
        *entries,
        valid_until="2026-11-20T16:15:00Z",
        problems=(),
        host=HostSummary((), "none", "/home/ada/ComfyUI", "0.3.75", comfyui_running=True, sample=False),
        start_problems=(problem,),
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_status(width: int) -> None:
    lines = format_status(build_report(), ReportView(NOW, width, PROGRAM, "/home/ada/watch/output/master_status.md"))
    compare_golden(f"status-{width}", click.unstyle("\n".join(lines)))


def test_report() -> None:
    compare_golden("report", render_markdown(build_report()))


@pytest.mark.parametrize("width", WIDTHS)
def test_explain(width: int) -> None:
    host = HostFacts("0.3.75", is_governed=True)
    lines: list[str] = []
    for found in build_report().workflows:
        name = found.path.rpartition("/")[2]
        lines += [*format_explanation(name, found.status, explain_workflow(found, 7, host), width, PROGRAM), ""]
    compare_golden(f"explain-{width}", click.unstyle("\n".join(lines)))


@pytest.mark.parametrize("width", WIDTHS)
def test_doctor(width: int) -> None:
    step = f"Run: {' '.join(PROGRAM)} install-service --write"
    checks = [
        DoctorCheck("Configuration", CheckState.OK, "/home/ada/.config/comfywatchman/config.toml"),
        DoctorCheck("Network", CheckState.WARN, "couldn't reach Civitai (name not found)", "Set HTTPS_PROXY."),
        DoctorCheck("Model folders", CheckState.FAIL, f"/mnt/nas/{LONG_NAME} is not mounted", "Mount it."),
        DoctorCheck("Service", CheckState.WARN, "no service checks this ComfyUI", step),
        DoctorCheck("Report", CheckState.SKIP, "waits for Service"),
    ]
    lines = [*format_checks(checks, width), "", *format_checks(checks[:1], width)]
    compare_golden(f"doctor-{width}", click.unstyle("\n".join(lines)))


def list_help(context: click.Context) -> Iterator[str]:
    """Return the help of a command and of those below it."""
    yield f"$ {context.command_path} --help\n{context.get_help()}\n"
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            yield from list_help(open_command(context, name))


def open_command(context: click.Context, name: str) -> click.Context:
    """Return the context of a command, below that of its group: click keeps the help option of the first one."""
    assert isinstance(context.command, click.Group)
    child = context.command.get_command(context, name)
    assert child is not None
    return click.Context(child, parent=context, info_name=name, **child.context_settings)


@pytest.mark.parametrize("name", ["comfywatchman", *COMMANDS])
def test_help(name: str) -> None:
    program = click.Context(main, info_name="comfywatchman", terminal_width=HELP_WIDTH, **main.context_settings)
    texts = list_help(open_command(program, name)) if name in COMMANDS else [next(list_help(program))]
    compare_golden(f"help/{name}", "\n".join(texts))


CALLS = (
    ("statsu",),
    ("status",),
    ("status", "--only", "everything"),
    ("explain", "nowhere.json"),
    ("scan", "nowhere"),
    ("inspect", "nowhere.safetensors"),
    ("resolve", "nowhere.safetensors"),
    ("download", "nowhere.safetensors"),
    ("download", "--plan", "nowhere.json"),
    ("history",),
    ("--list-intake",),
    ("--run-cycle", "status"),
    ("config", "get", "schedule.hours"),
    ("config", "set", "schedule.min_vram_gb", "much"),
    ("config", "edit"),
    ("backup", "--restore", "nowhere.tar"),
    ("version", "show", "v1"),
    ("env", "status"),
    ("env", "tx", "inspect", "T1"),
    ("jobs", "show", "picture"),
    ("supervise", "status"),
    ("supervise", "incidents", "x"),
)


@pytest.mark.slow
def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("VISUAL", "EDITOR", "COMFY_HOME", "COMFYGIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    variables = {**host.variables, "HOME": str(host.home), "XDG_CONFIG_HOME": None}
    texts = []
    for call in CALLS:
        result = CliRunner().invoke(
            main, ["--home", str(host.home), *call], env=variables, prog_name="comfywatchman", terminal_width=HELP_WIDTH
        )
        text = result.output
        if isinstance(result.exception, Failure):
            failure = result.exception
            text += "\n".join(filter(None, [f"Error ({failure.code}): {failure.message}", failure.hint])) + "\n"
        else:
            assert isinstance(result.exception, SystemExit | None), (call, result.exception)
        texts.append(f"$ comfywatchman {' '.join(call)}\n{text}")
    # A folder with a space is quoted in commands only.
    shown = "\n".join(texts).replace(shlex.quote(str(host.home)), "/HOST/home").replace(str(tmp_path), "/HOST")
    compare_golden("errors", shown)


def test_no_golden_file_is_left_over() -> None:
    files = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.txt")}
    widths = {f"{name}-{width}" for name in ("status", "explain", "doctor") for width in WIDTHS}
    helps = {f"help/{name}" for name in ("comfywatchman", *COMMANDS)}
    assert IS_UPDATING or files == {*widths, *helps, "errors", "report"}
