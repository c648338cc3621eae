"""`status`: the last report, and whether it can still be trusted."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result

from comfywatchman.readiness.workflows.discovery import WatchedRoot
from tests.cli.terminals import INTERRUPT, run_in_terminal
from tests.hosts import Host
from tests.nvml.library import build_nvml, write_nvml_state


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def run(host: Host, *arguments: str) -> Result:
    return host.invoke("status", *arguments)


@pytest.mark.slow
def test_missing_report_shows_folder_and_next_step(host: Host) -> None:
    ended = host.program("status")
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().splitlines() == [
        f"Error (report-unavailable): There is no report yet in {host.layout.status_json.parent}.",
        f"Run: comfywatchman --home {host.home} --run-cycle",
    ]
    assert json.loads(host.program("status", "--json").stdout)["error"]["code"] == "report-unavailable"


@pytest.mark.slow
def test_corrupt_report_is_left_in_place(host: Host) -> None:
    host.layout.status_json.parent.mkdir(parents=True)
    host.layout.status_json.write_bytes(b"{")
    ended = host.program("status")
    assert ended.returncode == 1
    assert f"The report {host.layout.status_json} cannot be read: " in ended.stderr.decode()
    assert host.layout.status_json.read_bytes() == b"{"


@pytest.mark.slow
def test_report_shows_missing_things_and_actions(host: Host) -> None:
    host.write("ready.json")
    host.write("lora.json", lora="absent.safetensors")
    host.write("broken.json", b"{")
    host.cycle()
    result = run(host)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "1 of 3 workflows ready"
    assert "Models                 1                  1" in lines
    assert lines[-1] == f"   comfywatchman --home {host.home} resolve absent.safetensors"
    table = run(host, "--all").stdout.splitlines()
    assert [line.split("\t")[0] for line in table[:4]] == ["Workflow", "broken.json", "lora.json", "ready.json"]
    assert table[5:] == lines


@pytest.mark.slow
def test_ready_host_shows_no_table(host: Host) -> None:
    host.write("a.json")
    host.cycle()
    lines = run(host).stdout.splitlines()
    assert (lines[0], lines[-1]) == ("1 of 1 workflows ready", "Nothing to do.")
    assert f"Report {host.layout.status_markdown}" in lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("ready", "ready.json\tREADY\t"),
        ("missing", "lora.json\tMISSING\tabsent.safetensors"),
        ("uncertain", "No workflow is UNCERTAIN."),
        ("invalid", "broken.json\tINVALID\tThe JSON is damaged or incomplete (line 1, column 2)."),
        ("models", "absent.safetensors\tLoRA\t1"),
        ("packs", "No node pack is missing."),
        ("inputs", "a.png\tinput\t1"),
    ],
)
def test_one_kind_can_be_listed(host: Host, only: str, expected: str) -> None:
    host.write("ready.json")
    host.write("lora.json", lora="absent.safetensors")
    host.write("broken.json", b"{")
    if only == "inputs":
        host.write("picture.json", picture("a.png"))
    host.cycle()
    assert run(host, "--only", only).stdout.splitlines()[-1] == expected


@pytest.mark.slow
def test_empty_lists_say_so(host: Host) -> None:
    host.cycle()
    assert run(host, "--only", "inputs").stdout == "No file of yours is missing.\n"
    assert run(host, "--only", "models").stdout == "No model is missing.\n"


@pytest.mark.slow
def test_report_is_printed_as_json(host: Host) -> None:
    report = host.report_after_cycle()
    facts = json.loads(run(host, "--json").stdout)
    assert (facts["stale"], facts["report"]) == (False, report)


@pytest.mark.slow
def test_old_report_exits_with_1(host: Host) -> None:
    host.clock.shift_wall(-timedelta(hours=3).total_seconds())
    host.cycle()
    result = run(host)
    assert result.exit_code == 1
    assert "Error: The watch has stopped" in result.stdout
    assert json.loads(run(host, "--json").stdout)["stale"] is True


@pytest.mark.slow
def test_problems_have_no_control_characters(host: Host) -> None:
    host.roots = (WatchedRoot(host.folder / "absent\x1b", "x"),)
    host.cycle()
    result = run(host)
    assert "Warning: " in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.slow
def test_skipped_cycle_is_shown_with_its_reason(host: Host, tmp_path: Path) -> None:
    host.set(schedule__min_vram_gb=6.0)
    write_nvml_state(build_nvml(tmp_path), "init 0", "gpu GPU-a 0 0 24576 3000 400 -1 Card")
    assert host.program("--run-cycle", LD_LIBRARY_PATH=str(tmp_path)).returncode == 75
    assert "The last check was skipped: " in run(host).stdout


def picture(name: str) -> bytes:
    return json.dumps({"1": {"class_type": "LoadImage", "inputs": {"image": name}}}).encode()


@pytest.mark.slow
def test_required_input_is_in_the_table(host: Host) -> None:
    host.set(workflows__require_inputs=True)
    host.write("a.json", picture("a.png"))
    host.cycle()
    assert "a.json\tMISSING\ta.png\n" in run(host, "--all").stdout


def test_packs_without_confirmation_are_one_line(host: Host) -> None:
    host.pack("Mine")
    for name in ("a.json", "b.json"):
        host.write(name, last="Mine")
    host.cycle()
    assert "Warning: 2 workflows are ready as far as files show: " in run(host).stdout


@pytest.mark.slow
def test_watch_shows_a_live_view_and_leaves_the_terminal_as_it_was(host: Host) -> None:
    host.write("a.json")
    host.cycle()
    session = run_in_terminal(
        ["--home", str(host.home), "status", "--watch"],
        [("1 of 1 workflow ready", ""), ("Ctrl-C ends this view.", INTERRUPT)],
        folder=host.folder,
        variables=host.environment(),
        columns=60,
        repeats_interrupt=False,
    )
    assert session.status == 0
    assert "0 jobs run, 0 wait." in session.text
    # The alternate screen was left again, and the cursor is visible.
    assert session.received.rfind("\x1b[?1049l") > session.received.rfind("\x1b[?1049h") >= 0
    assert session.received.rfind("\x1b[?25h") > session.received.rfind("\x1b[?25l")


@pytest.mark.slow
def test_watch_without_terminal_names_what_it_needs(host: Host) -> None:
    ended = host.program("status", "--watch")
    assert ended.returncode == 2
    assert "--watch needs a terminal; without --watch, status prints once." in ended.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--json", "--all", "--only=ready"])
def test_watch_is_for_the_whole_host(host: Host, option: str) -> None:
    assert run(host, "--watch", option).exit_code == 2
