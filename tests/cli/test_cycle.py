"""`--run-cycle` and the looks that leave no trace, as a person and a program meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from comfywatchman.base.lock import hold_lock, is_held
from tests.base.test_process_children import wait_until
from tests.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write("ready.json")
    host.write("lora.json", lora="absent.safetensors")
    return host


@pytest.mark.slow
def test_cycle_shows_missing_things_and_the_report(host: Host) -> None:
    ended = host.program("--run-cycle")
    assert (ended.returncode, ended.stderr) == (0, b"")
    lines = ended.stdout.decode().splitlines()
    assert lines[0] == f"ComfyUI 0.33.0 in {host.comfyui} (named by environment COMFYUI_ROOT)."
    assert lines[1] == "1 of 2 workflows ready"
    assert "1. +1 Find LoRA (no source known yet)" in lines
    assert f"Report {host.layout.status_markdown}" in lines
    assert b"\x1b" not in ended.stdout
    assert not set("│┃━┏╭") & set(ended.stdout.decode())
    assert json.loads((host.home / "log/structured.log").read_text().splitlines()[-1])["message"] == "cycle finished"


@pytest.mark.slow
def test_cycle_is_printed_as_json(host: Host) -> None:
    ended = host.invoke("--run-cycle", "--json", "--trigger", "cron")
    facts = json.loads(ended.stdout)
    assert (facts["schema_version"], facts["cycle"]["trigger"], facts["summary"]["ready"]) == (1, "cron", 1)
    assert facts["report"] == str(host.layout.status_json)
    assert facts["cycle"]["id"] == host.history()[0].id


@pytest.mark.slow
def test_note_is_one_line(host: Host) -> None:
    ended = host.invoke("--run-cycle", "--note")
    assert json.loads(ended.stdout) == {"id": host.history()[0].id, "skipped_reason": None, "message": None}


def test_skipped_cycle_exits_with_75(host: Host) -> None:
    with hold_lock(host.layout.cycle_lock, command="another cycle", clock=host.clock):
        shown, told, noted = (host.invoke("--run-cycle", *more) for more in ((), ("--json",), ("--note",)))
    assert {shown.exit_code, told.exit_code, noted.exit_code} == {75}
    assert "Check skipped: cycle.lock is held by process" in shown.stdout
    assert json.loads(told.stdout)["summary"] is None
    assert json.loads(noted.stdout)["skipped_reason"] == "cycle-running"


@pytest.mark.slow
def test_interrupted_cycle_exits_with_130(host: Host) -> None:
    with host.started("--run-cycle", COMFYWATCHMAN_FAILPOINTS="cycle.after_inventory=sleep:600") as process:
        wait_until(lambda: is_held(host.layout.cycle_lock), seconds=60)
        wait_until(host.layout.database.exists, seconds=60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert b"Interrupted." in errors
    assert b"Report:" not in output
    assert host.cycle().record.success


@pytest.mark.slow
def test_sample_host_is_built_without_a_comfyui(host: Host) -> None:
    host.variables.pop("COMFYUI_ROOT")
    host.comfyui.rename(host.folder / "hidden")
    ended = host.program("--run-cycle")
    assert ended.returncode == 0, ended.stderr
    assert b"No ComfyUI was found, so a sample host is built" in ended.stdout
    report = json.loads(host.invoke("status", "--json").stdout)["report"]
    assert report["host"]["sample"] is True
    assert {one["status"] for one in report["workflows"]} == {"READY", "MISSING", "UNCERTAIN", "INVALID"}
    sample_home = host.layout.sample / "home"
    assert "**sample host**" in (sample_home / "output/reports/status/master_status.md").read_text("utf-8")
    # The state of real hosts is untouched.
    assert not host.layout.status_json.exists()
    assert not host.layout.history.exists()
    os.unlink(host.layout.sample / "ComfyUI" / "main.py")
    ended = host.program("--run-cycle", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (1, "comfyui-not-found")
    assert b"comfyui-not-found" in ended.stderr
    assert b"Delete" in ended.stderr


@pytest.mark.slow
def test_configured_folder_without_comfyui_exits_with_1(host: Host) -> None:
    ended = host.program("--comfyui", str(host.folder / "absent"), "--run-cycle")
    assert ended.returncode == 1
    assert b"There is no ComfyUI in" in ended.stderr
    assert b"(named by --comfyui)" in ended.stderr


@pytest.mark.slow
def test_unexpected_error_ends_with_a_message(host: Host) -> None:
    ended = host.program("--run-cycle", COMFYWATCHMAN_FAILPOINTS="no.such=kill")
    assert ended.returncode == 1
    assert b"comfywatchman failed unexpectedly (ValueError)" in ended.stderr


@pytest.mark.slow
def test_report_has_colours_unless_disabled(host: Host) -> None:
    coloured = on_a_terminal(host)
    assert "\x1b[" in coloured
    assert "absent.safetensors" in coloured
    assert "\x1b[3" not in on_a_terminal(host, NO_COLOR="1")


def on_a_terminal(host: Host, **variables: str) -> str:
    """Return what `--run-cycle` writes to a terminal of 120 columns."""
    ours, theirs = os.openpty()
    environment = host.environment(TERM="xterm-256color", COLUMNS="120", **variables)
    with subprocess.Popen(
        host.command("--run-cycle"), cwd=host.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while block := os.read(ours, 65536):
                seen += block
        except OSError:
            pass  # how Linux says that the other end was closed
        finally:
            os.close(ours)
    assert process.returncode == 0
    return seen.decode()
