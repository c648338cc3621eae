"""`status`: the last report, and whether it can still be trusted."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result

from comfywatchman.cli.status import SHOWN_ACTIONS, SHOWN_INPUTS, SHOWN_WORKFLOWS
from comfywatchman.readiness.workflows.discovery import WatchedRoot
from tests.hosts import Host
from tests.nvml.library import build_nvml, write_nvml_state


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def run(host: Host, *arguments: str) -> Result:
    return host.invoke("status", *arguments)


def test_missing_report_shows_folder_and_next_step(host: Host) -> None:
    ended = host.program("status")
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().splitlines() == [
        f"Error (report-unavailable): There is no report yet in {host.layout.status_json.parent}.",
        f"Run: comfywatchman --home {host.home} --run-cycle",
    ]
    assert json.loads(host.program("status", "--json").stdout)["error"]["code"] == "report-unavailable"


def test_corrupt_report_is_left_in_place(host: Host) -> None:
    host.layout.status_json.parent.mkdir(parents=True)
    host.layout.status_json.write_bytes(b"{")
    ended = host.program("status")
    assert ended.returncode == 1
    assert f"The report {host.layout.status_json} cannot be read: " in ended.stderr.decode()
    assert host.layout.status_json.read_bytes() == b"{"


def test_report_shows_missing_things_and_actions(host: Host) -> None:
    host.write("ready.json")
    host.write("lora.json", lora="absent.safetensors")
    host.write("broken.json", b"{")
    host.cycle()
    result = run(host)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "1 of 3 workflows are ready"
    assert [line.split("\t")[0] for line in lines[2:4]] == ["broken.json", "lora.json"]
    assert "What to do:" in lines
    assert lines[-1] == f"Full report: {host.layout.status_markdown}"
    assert len(run(host, "--all").stdout.splitlines()) == len(lines) + 1


def test_ready_host_shows_no_table(host: Host) -> None:
    host.write("a.json")
    host.cycle()
    lines = run(host).stdout.splitlines()
    assert lines == ["The only workflow is ready", f"Full report: {host.layout.status_markdown}"]


def test_report_is_printed_as_json(host: Host) -> None:
    report = host.report_after_cycle()
    facts = json.loads(run(host, "--json").stdout)
    assert (facts["stale"], facts["report"]) == (False, report)


def test_old_report_exits_with_1(host: Host) -> None:
    host.clock.shift_wall(-timedelta(hours=3).total_seconds())
    host.cycle()
    result = run(host)
    assert result.exit_code == 1
    assert "This report is out of date since" in result.stderr
    assert json.loads(run(host, "--json").stdout)["stale"] is True


def test_long_lists_are_shortened(host: Host) -> None:
    for n in range(45):
        host.write(f"{n:02}.json", lora=f"absent{n}.safetensors")
    host.cycle()
    output = run(host).stdout
    assert f"… and {45 - SHOWN_WORKFLOWS} more." in output
    assert f"… and {45 - SHOWN_ACTIONS} more in the report." in output
    assert output.count("\tMISSING\t") == SHOWN_WORKFLOWS


def test_problems_have_no_control_characters(host: Host) -> None:
    host.roots = (WatchedRoot(host.folder / "absent\x1b", "x"),)
    host.cycle()
    result = run(host)
    assert "Problem: " in result.stderr
    assert "\x1b" not in result.stderr


def test_skipped_cycle_is_shown_with_its_reason(host: Host, tmp_path: Path) -> None:
    host.set(schedule__min_vram_gb=6.0)
    write_nvml_state(build_nvml(tmp_path), "init 0", "gpu GPU-a 0 0 24576 3000 400 -1 Card")
    assert host.program("--run-cycle", LD_LIBRARY_PATH=str(tmp_path)).returncode == 75
    assert "The last cycle was skipped (vram-low): GPU 0 (Card) has 2.93 GiB" in run(host).stdout


def picture(name: str) -> bytes:
    return json.dumps({"1": {"class_type": "LoadImage", "inputs": {"image": name}}}).encode()


def test_missing_inputs_of_ready_workflows_are_shown(host: Host) -> None:
    host.write("ready.json", picture("a.png"))
    host.write("other.json", picture("b.png"))
    host.cycle()
    lines = run(host).stdout.splitlines()
    assert lines[0] == "All 2 workflows are ready"
    assert {"ready.json is ready, but needs a picture: a.png", "other.json is ready, but needs a picture: b.png"} < set(
        lines
    )


def test_missing_inputs_are_shortened(host: Host) -> None:
    for number in range(SHOWN_INPUTS + 2):
        host.write(f"{number}.json", picture("a.png"))
    host.cycle()
    text = run(host).stdout
    assert text.count("needs a picture") == SHOWN_INPUTS
    assert "… and 2 more that are ready need pictures or other files of yours; see the report." in text


def test_required_input_is_in_the_table(host: Host) -> None:
    host.set(workflows__require_inputs=True)
    host.write("a.json", picture("a.png"))
    host.cycle()
    text = run(host).stdout
    assert "a.json\tMISSING\t0\t0\ta.png\n" in text
    assert "needs a picture" not in text
