"""`comfywatchman history` and `--list-intake`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from comfywatchman.base.config import Home
from comfywatchman.cli.main import main
from comfywatchman.comfyui.install.identity import identify_comfyui
from comfywatchman.readiness.history import CycleRecord, add_record
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.workflows.intake_log import Acknowledgement, append_entries


@pytest.fixture
def layout(tmp_path: Path) -> ReadinessLayout:
    return ReadinessLayout(Home(tmp_path / "home"))


def comfyui(layout: ReadinessLayout) -> Path:
    folder = layout.home.folder.parent / "ComfyUI"
    folder.mkdir(exist_ok=True)
    return folder


def run(layout: ReadinessLayout, *arguments: str) -> Result:
    environment = {"HOME": str(layout.home.folder), "XDG_CONFIG_HOME": None, "COMFYUI_ROOT": str(comfyui(layout))}
    return CliRunner().invoke(
        main, ["--home", str(layout.home.folder), *arguments], env=environment, catch_exceptions=False
    )


def add_cycles(layout: ReadinessLayout) -> None:
    for one in (
        CycleRecord(
            "c1",
            "manual",
            "2026-11-20T14:00:01Z",
            0.254,
            True,
            read=7,
            ready=1,
            missing=2,
            uncertain=3,
            invalid=4,
            unknown_workflows=1,
        ),
        CycleRecord("c2", "cron", "2026-11-20T14:00:02Z", 0.0, success=False, skipped_reason="low-vram"),
        CycleRecord("c3", "schedule", "2026-11-20T14:00:03Z", 1.0, success=False, message="disk full"),
    ):
        owned = msgspec.structs.replace(one, comfyui=identify_comfyui(comfyui(layout)).id)
        add_record(layout.history, owned, keep=100)


def test_cycles_are_listed_newest_first(layout: ReadinessLayout) -> None:
    add_cycles(layout)
    lines = run(layout, "history").output.splitlines()
    assert lines[0].split("\t")[:4] == ["Started", "Trigger", "Outcome", "Seconds"]
    assert [line.split("\t") for line in lines[1:]] == [
        ["2026-11-20T14:00:03Z", "schedule", "failed: disk full", "1.00", "", "", "", "", "", ""],
        ["2026-11-20T14:00:02Z", "cron", "skipped: low-vram", "0.00", "", "", "", "", "", ""],
        ["2026-11-20T14:00:01Z", "manual", "done", "0.25", "7", "1", "2", "3", "4", "1"],
    ]


def test_limit_is_the_number_of_cycles(layout: ReadinessLayout) -> None:
    add_cycles(layout)
    assert [one["id"] for one in json.loads(run(layout, "history", "-n", "2", "--json").output)["cycles"]] == [
        "c3",
        "c2",
    ]


def test_empty_history_shows_the_next_step(layout: ReadinessLayout) -> None:
    command = f"comfywatchman --home {layout.home.folder} --run-cycle"
    assert run(layout, "history").output == f"No cycle has run yet. Start one: {command}\n"
    assert json.loads(run(layout, "history", "--json").output) == {"schema_version": 1, "cycles": []}


def add_intake(layout: ReadinessLayout, count: int = 30) -> None:
    entries = [Acknowledgement(f"T{n}", "new", f"/w/{n}.json", "mine", "0" * 64, "c") for n in range(count)]
    renamed = Acknowledgement("T", "renamed", "/w/b.json", "mine", "0" * 64, "c", previous_path="/w/a\x1b.json")
    watched = identify_comfyui(comfyui(layout)).id
    owned = [msgspec.structs.replace(entry, comfyui=watched) for entry in (*entries, renamed)]
    append_entries(layout.intake_log, owned)


@pytest.mark.parametrize(("arguments", "count"), [(["--list-intake"], 20), (["--list-intake", "3"], 3)])
def test_acknowledgements_are_listed_newest_first(layout: ReadinessLayout, arguments: list[str], count: int) -> None:
    add_intake(layout)
    lines = run(layout, *arguments).output.splitlines()
    assert lines[1] == "T\trenamed\tmine\t/w/a\\x1b.json -> /w/b.json"
    assert lines[2] == "T29\tnew\tmine\t/w/29.json"
    assert len(lines) == count + 1


def test_acknowledgements_are_printed_as_json(layout: ReadinessLayout) -> None:
    add_intake(layout, 1)
    facts = json.loads(run(layout, "--list-intake", "--json").output)
    assert [entry["kind"] for entry in facts["intake"]] == ["renamed", "new"]
    assert facts["intake"][0]["previous_path"] == "/w/a\x1b.json"


def test_empty_intake_shows_the_next_step(layout: ReadinessLayout) -> None:
    assert run(layout, "--list-intake").output.startswith("No workflow has been acknowledged yet. Run:")


def test_history_creates_no_folder(layout: ReadinessLayout) -> None:
    run(layout, "history")
    run(layout, "--list-intake")
    assert not layout.home.folder.exists()
