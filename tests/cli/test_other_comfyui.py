"""Stored facts of one ComfyUI are never shown as those of another, through the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfywatchman.base.config import Home
from comfywatchman.base.filesystem import read_creation_time_ns
from comfywatchman.comfyui.install.identity import identify_comfyui
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem
from comfywatchman.readiness.downloads.plan_files import write_plan
from comfywatchman.readiness.downloads.queue import add_items, queue_file
from tests.hosts import Host

SHOWING = (["status"], ["history"], ["--list-intake"])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host after one cycle."""
    host = Host(tmp_path)
    host.write("a.json")
    host.cycle()
    return host


@pytest.fixture
def other(host: Host) -> Host:
    """A second ComfyUI that shares the home of the first."""
    other = Host(host.folder / "second")
    other.home = host.home
    other.write("b.json", lora="absent.safetensors")
    return other


def error(host: Host, *arguments: str) -> dict[str, Any]:
    """Return the error of a command with `--json`, which exits with 1."""
    result = host.invoke(*arguments, "--json")
    assert result.exit_code == 1
    facts: dict[str, Any] = json.loads(host.program(*arguments, "--json").stdout)["error"]
    return facts


@pytest.mark.slow
def test_report_names_its_comfyui(host: Host) -> None:
    told = host.report()["comfyui"]
    assert told["root"] == told["base"] == str(host.comfyui)
    assert [(one.comfyui, one.comfyui_root) for one in host.history()] == [(told["id"], str(host.comfyui))]
    assert [entry.comfyui for entry in host.intake()] == [told["id"]]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SHOWING)
def test_facts_of_another_comfyui_are_not_shown(host: Host, other: Host, arguments: list[str]) -> None:
    told = error(other, *arguments)
    assert (told["code"], told["recorded_comfyui"]) == ("other-comfyui", str(host.comfyui))
    assert told["watched_comfyui"] == str(other.comfyui)
    assert f"is about another ComfyUI ({host.comfyui}, {told['recorded_at']})" in told["message"]
    assert told["hint"] == f"Run: comfywatchman --home {host.home} --run-cycle"
    assert host.invoke(*arguments).exit_code == 0


@pytest.mark.slow
def test_option_chooses_whose_report_is_shown(host: Host, other: Host) -> None:
    assert host.invoke("--comfyui", other.comfyui, "status").exit_code == 1
    assert other.invoke("--comfyui", host.comfyui, "status").exit_code == 0


@pytest.mark.slow
def test_each_comfyui_has_its_own_history_and_intake(host: Host, other: Host) -> None:
    other.cycle()
    assert "0 of 1 workflows ready" in other.invoke("status").stdout
    for one, name in ((host, "a.json"), (other, "b.json")):
        assert len(json.loads(one.invoke("history", "--json").stdout)["cycles"]) == 1
        (entry,) = json.loads(one.invoke("--list-intake", "--json").stdout)["intake"]
        assert entry["path"].endswith(name)
    host.cycle()
    other.cycle()
    # Taking turns, no workflow is acknowledged or removed again.
    assert [entry.kind for entry in host.intake()] == ["new", "new"]
    assert [Path(item["path"]).name for item in other.report()["intake"]] == ["b.json"]


@pytest.mark.slow
def test_time_of_completion_is_kept_for_each_comfyui(host: Host, other: Host) -> None:
    other.cycle()
    other.model("loras/absent.safetensors")
    host.cycle()
    assert other.cycle().record.resolved == 1
    host.cycle()
    other.cycle()
    assert other.report()["workflows"][0]["last_resolved_at"]


@pytest.mark.slow
def test_links_and_moves_keep_the_report(host: Host) -> None:
    (host.folder / "link").symlink_to(host.comfyui)
    for spelling in (f"{host.comfyui}/", host.folder / "link", host.folder):
        for arguments in SHOWING:
            assert host.invoke("--comfyui", str(spelling), *arguments).exit_code == 0
    if read_creation_time_ns(host.comfyui) is not None:
        host.comfyui.rename(host.folder / "moved")
        assert host.invoke("--comfyui", host.folder / "moved", "status").exit_code == 0


@pytest.mark.slow
def test_unmounted_comfyui_keeps_its_report(host: Host) -> None:
    host.comfyui.rename(host.folder / "away")
    for arguments in SHOWING:
        assert host.invoke(*arguments).exit_code == 0


@pytest.mark.slow
def test_another_comfyui_at_the_same_path_is_another_one(host: Host) -> None:
    if read_creation_time_ns(host.comfyui) is None:
        return
    host.comfyui.rename(host.folder / "away")
    again = Host(host.folder)
    result = again.invoke("status")
    assert result.exit_code == 1
    assert f"(the one that was in {host.comfyui} before, " in str(result.exception)
    again.write("a.json")
    assert again.cycle().record.read == 1


def test_report_of_an_older_version_is_of_an_unknown_comfyui(host: Host) -> None:
    report = host.report()
    del report["comfyui"]
    host.layout.status_json.write_bytes(orjson.dumps(report))
    result = host.invoke("status")
    assert result.exit_code == 1
    assert "was written by an older version, which did not record the ComfyUI" in str(result.exception)


@pytest.mark.slow
def test_without_a_comfyui_the_report_names_the_one_it_is_about(host: Host) -> None:
    del host.variables["COMFYUI_ROOT"]
    result = host.invoke("status")
    assert result.exit_code == 1
    assert "is about a ComfyUI that is not configured" in str(result.exception)
    assert f"--comfyui {host.comfyui} status" in str(result.exception)


@pytest.mark.slow
def test_sample_host_ignores_the_configured_base_directory(host: Host) -> None:
    del host.variables["COMFYUI_ROOT"]
    host.set(comfyui__base_directory=str(host.folder / "base"))
    host.comfyui.rename(host.folder / "hidden")
    assert host.invoke("--run-cycle").exit_code == 0
    assert host.invoke("status").exit_code == 0


@pytest.mark.slow
def test_sample_host_has_its_own_state(host: Host) -> None:
    root = host.variables.pop("COMFYUI_ROOT")
    host.comfyui.rename(host.folder / "hidden")
    assert host.program("--run-cycle").returncode == 0
    assert b"(sample host)" in host.program("status").stdout
    assert len(json.loads(host.program("history", "--json").stdout)["cycles"]) == 1
    sample = str(host.layout.sample / "ComfyUI")
    assert host.program("--comfyui", sample, "--run-cycle").returncode == 0
    (host.folder / "hidden").rename(host.comfyui)
    host.variables["COMFYUI_ROOT"] = root
    assert len(host.history()) == 1
    assert len(host.intake()) == 1
    assert b"(sample host)" not in host.program("status").stdout
    assert len(json.loads(host.program("--comfyui", sample, "history", "--json").stdout)["cycles"]) == 2


@pytest.mark.usefixtures("host")
def test_skipped_cycle_does_not_take_over_the_verdicts_of_another(other: Host) -> None:
    other.set(schedule__no_gpu="skip", schedule__min_vram_gb=6, schedule__unknown_gpu="skip")
    assert other.cycle().record.skipped_reason
    report = other.report()
    assert (report["comfyui"]["root"], report["workflows"], report["checked_at"]) == (str(other.comfyui), [], None)


def add_plan(host: Host, cycle: str) -> Path:
    """Write a plan for the ComfyUI of a host, with one model that cannot be fetched."""
    comfyui = identify_comfyui(host.comfyui)
    item = PlanItem(f"{cycle}.safetensors", "loras", f"https://huggingface.co/o/r/resolve/main/{cycle}.safetensors")
    return write_plan(Home(host.home), DownloadPlan(cycle, "2026-11-20T14:00:00Z", (item,), 0, comfyui=comfyui))


@pytest.mark.slow
def test_plan_of_another_comfyui_is_not_downloaded(host: Host, other: Host) -> None:
    path = add_plan(host, "c1")
    result = other.invoke("download", "--plan", path)
    assert getattr(result.exception, "code", None) == "other-comfyui"
    assert f"The plan c1.json is about another ComfyUI ({host.comfyui}, 2026-11-20" in str(result.exception)
    assert not (host.home / "state" / "downloads.json").exists()


@pytest.mark.slow
def test_newest_plan_is_that_of_the_watched_comfyui(host: Host, other: Host) -> None:
    add_plan(host, "c1")
    add_plan(other, "c2")
    for one, name in ((host, "c1.safetensors"), (other, "c2.safetensors")):
        items = json.loads(one.invoke("download", "--list", "--json").stdout)["items"]
        assert [item["filename"] for item in items] == [name]


@pytest.mark.slow
def test_unfinished_downloads_are_those_of_the_watched_comfyui(host: Host, other: Host) -> None:
    item = PlanItem("a.safetensors", "loras", "https://huggingface.co/o/r/resolve/main/a.safetensors")
    add_items(queue_file(Home(host.home)), [item], identify_comfyui(host.comfyui).id, clock=host.clock)
    assert "No download is unfinished." in other.invoke("download").stderr
    assert json.loads(other.invoke("download", "--forget", "--json").stdout)["forgotten"] == []
    assert json.loads(host.invoke("download", "--forget", "--json").stdout)["forgotten"] == ["a.safetensors"]


@pytest.mark.slow
def test_caches_name_their_comfyui(host: Host, other: Host) -> None:
    for one in (host, other, host):
        one.cycle()
        for path in (one.layout.model_cache, one.layout.pack_cache):
            assert json.loads(path.read_bytes())["comfyui"]["root"] == str(one.comfyui)


@pytest.mark.parametrize("arguments", [*SHOWING, ["inspect", "x"], ["duplicates"], ["resolve", "--all"], ["download"]])
@pytest.mark.slow
def test_broken_configuration_is_reported(host: Host, arguments: list[str]) -> None:
    (host.folder / "broken.toml").write_text("[comfyui]\nrot = 1\n")
    result = host.invoke("--config", host.folder / "broken.toml", *arguments)
    assert getattr(result.exception, "code", None) == "config-unknown-key"


@pytest.mark.slow
def test_broken_configuration_does_not_hide_the_defaults(host: Host) -> None:
    (host.folder / "broken.toml").write_text("[comfyui]\nrot = 1\n")
    assert host.invoke("--config", host.folder / "broken.toml", "config", "--defaults").exit_code == 0
