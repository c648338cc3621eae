"""`install-service`: units and crontab lines for this very home, configuration and ComfyUI."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from click.testing import Result

from tests.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def run(host: Host, *arguments: str, before: tuple[str, ...] = ()) -> Result:
    return host.invoke(*before, "install-service", *arguments)


def test_unit_names_program_home_and_comfyui(host: Host) -> None:
    result = run(host)
    assert result.exit_code == 0
    assert result.stdout.startswith("# comfywatchman.service\n")
    (start,) = (line for line in result.stdout.splitlines() if line.startswith("ExecStart="))
    words = [sys.executable, "-m", "comfywatchman", "--home", host.home, "--comfyui", host.comfyui, "--scheduler"]
    assert start == f"ExecStart={' '.join(map(str, words))}"
    assert "--write" in result.stderr


def test_unit_names_the_configuration_file(host: Host) -> None:
    path = host.folder / "given.toml"
    path.write_text("[schedule]\ninterval_minutes = 30.0\n")
    result = run(host, "--timer", before=("--config", str(path)))
    assert f"--config {path}" in result.stdout
    assert "--run-cycle --trigger schedule" in result.stdout
    assert "OnCalendar=*:00/30" in result.stdout
    assert result.stdout.count("# comfywatchman-cycle.") == 2


def test_crontab_line_is_printed(host: Host) -> None:
    result = run(host, "--cron")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert line.startswith("0 */2 * * * ")
    words = shlex.split(line.removesuffix(" >/dev/null"))[5:]
    assert words[-3:] == ["--run-cycle", "--trigger", "cron"]
    assert json.loads(run(host, "--cron", "--json").stdout)["crontab"] == line


@pytest.mark.parametrize("other", ["--timer", "--write"])
def test_cron_cannot_be_combined(host: Host, other: str) -> None:
    assert run(host, "--cron", other).exit_code == 2


@pytest.mark.slow
def test_interval_that_cron_cannot_express_exits_with_1(host: Host) -> None:
    host.set(schedule__interval_minutes=77)
    ended = host.program("install-service", "--cron")
    assert ended.returncode == 1
    assert b"service-impossible" in ended.stderr


def test_units_are_written_to_the_systemd_folder(host: Host) -> None:
    result = run(host, "--write", "--timer")
    assert result.exit_code == 0
    folder = host.home / ".config" / "systemd" / "user"
    assert sorted(path.name for path in folder.iterdir()) == [
        "comfywatchman-cycle.service",
        "comfywatchman-cycle.timer",
    ]
    assert f"Written: {folder / 'comfywatchman-cycle.timer'}" in result.stdout
    assert "  systemctl --user enable --now comfywatchman-cycle.timer" in result.stdout
    facts = json.loads(run(host, "--write", "--json").stdout)
    assert facts["written"] == [str(folder / "comfywatchman.service")]
    assert facts["activation"][0] == "systemctl --user daemon-reload"


def test_written_units_come_with_log_stop_and_removal(host: Host) -> None:
    lines = run(host, "--write").stdout.splitlines()
    assert lines[-3:] == [
        "  See its log: journalctl --user --unit comfywatchman.service --follow",
        "  Stop it: systemctl --user stop comfywatchman.service",
        "  Remove it: comfywatchman install-service --remove",
    ]


def test_written_units_are_removed(host: Host) -> None:
    run(host, "--write", "--timer")
    folder = host.home / ".config" / "systemd" / "user"
    (folder / "mine.service").write_text("[Unit]\n")
    result = run(host, "--remove")
    assert result.exit_code == 0
    assert f"Removed {folder / 'comfywatchman-cycle.timer'}" in result.stdout
    assert [path.name for path in folder.iterdir()] == ["mine.service"]
    assert run(host, "--remove").stdout == f"No service of comfywatchman is in {folder}.\n"
    assert json.loads(run(host, "--remove", "--json").stdout)["removed"] == []


def test_removal_is_not_combined(host: Host) -> None:
    assert run(host, "--remove", "--write").exit_code == 2


@pytest.mark.slow
def test_running_units_are_stopped_before_their_removal(host: Host) -> None:
    run(host, "--write")
    log = host.folder / "systemctl.log"
    program = host.folder / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(0o755)
    ended = host.program("install-service", "--remove", PATH=f"{program.parent}:/usr/bin:/bin", HOME=str(host.home))
    assert ended.returncode == 0, ended.stderr
    assert log.read_text().splitlines() == ["--user disable --now comfywatchman.service", "--user daemon-reload"]
    assert b"systemd did not answer" not in ended.stdout


def test_units_are_printed_as_json(host: Host) -> None:
    facts = json.loads(run(host, "--json").stdout)
    assert [unit["name"] for unit in facts["units"]] == ["comfywatchman.service"]
    assert list(host.home.iterdir()) == []


@pytest.mark.slow
def test_service_needs_a_comfyui(host: Host) -> None:
    host.variables.pop("COMFYUI_ROOT")
    host.comfyui.rename(host.folder / "hidden")
    ended = host.program("install-service")
    assert ended.returncode == 1
    assert b"comfyui-not-found" in ended.stderr


@pytest.mark.slow
def test_installed_command_starts(host: Host) -> None:
    line = run(host, "--cron").stdout.strip()
    words = shlex.split(line.removesuffix(" >/dev/null"))[5:]
    host.write("a.json")
    ended = host.program(*words[words.index("--comfyui") :])
    assert ended.returncode == 0, ended.stderr
    assert host.history()[0].trigger == "cron"


@pytest.fixture
def supervised(host: Host) -> Host:
    """A host with a comfygit workspace."""
    (host.folder / "ws" / "environments").mkdir(parents=True)
    host.set(supervisor__workspace=host.folder / "ws", supervisor__stop_interrupt_seconds=20)
    return host


def test_supervisor_unit_names_the_workspace(supervised: Host) -> None:
    (unit,) = json.loads(run(supervised, "--supervisor", "--json").stdout)["units"]
    assert unit["name"] == "comfywatchman-supervisor.service"
    (start,) = (line for line in unit["text"].splitlines() if line.startswith("ExecStart="))
    words = [sys.executable, "-m", "comfywatchman", "--home", supervised.home, "supervise", "run", "--workspace"]
    assert start == f"ExecStart={' '.join(map(str, words))} {supervised.folder / 'ws'}"
    # 20 for SIGINT, 5 each for SIGTERM and SIGKILL, and some to spare.
    assert "TimeoutStopSec=45\nKillMode=mixed\n" in unit["text"]


def test_supervisor_unit_leaves_a_kept_comfyui_alone(supervised: Host) -> None:
    supervised.set(supervisor__on_exit="keep")
    assert "KillMode=process\n" in run(supervised, "--supervisor").stdout


def test_supervisor_unit_needs_something_to_supervise(host: Host) -> None:
    host.variables["HOME"] = str(host.folder)
    assert "no environment to start ComfyUI in" in str(run(host, "--supervisor").exception)


@pytest.mark.parametrize("other", ["--timer", "--cron"])
def test_supervisor_unit_cannot_be_combined(supervised: Host, other: str) -> None:
    assert run(supervised, "--supervisor", other).exit_code == 2


@pytest.mark.slow
def test_temporary_environment_gives_a_warning(host: Host, tmp_path: Path) -> None:
    environment = tmp_path / ".cache" / "uv" / "archive-v0" / "Zx9"
    venv.create(environment, symlinks=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "all.pth").write_text("\n".join(path for path in sys.path if path))
    command = [environment / "bin" / "python", *host.command("install-service", "--cron")[1:]]
    ended = subprocess.run(command, env=host.environment(), capture_output=True, check=True, timeout=250)
    assert f"Warning: this program runs from the temporary environment {environment}".encode() in ended.stderr
    assert b"uv tool install" in ended.stderr
    assert str(environment).encode() in ended.stdout
