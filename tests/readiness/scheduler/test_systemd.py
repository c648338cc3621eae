from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.scheduler.systemd import (
    UnitFile,
    build_cron_line,
    build_scheduler_unit,
    build_supervisor_unit,
    build_timer_units,
    find_temporary_environment,
    list_activation_commands,
    write_units,
)

ODD = '/home/a b/100%/it\'s "$HOME"\\é/\t'
PLAIN = ("/usr/bin/python3", "-m", "comfywatchman", "--scheduler")


def exec_start(unit: UnitFile) -> str:
    return next(line for line in unit.text.splitlines() if line.startswith("ExecStart="))


def test_plain_arguments_are_not_quoted() -> None:
    assert exec_start(build_scheduler_unit(PLAIN)) == "ExecStart=/usr/bin/python3 -m comfywatchman --scheduler"


def test_spaces_quotes_percents_dollars_and_control_characters_are_escaped() -> None:
    expected = r'ExecStart=/bin/true "/home/a b/100%%/it' + "'" + r's \"$$HOME\"\\é/\x09" ""'
    assert exec_start(build_scheduler_unit(["/bin/true", ODD, ""])) == expected


def test_dollar_in_the_program_is_not_doubled() -> None:
    assert exec_start(build_scheduler_unit(["/opt/$x/run"])) == 'ExecStart="/opt/$x/run"'


@pytest.mark.parametrize("argv", [["python3"], ["/bin/true", "/home/\udcff"], ["./run"]])
def test_argument_unsupported_by_systemd_is_refused(argv: list[str]) -> None:
    with pytest.raises(Failure) as raised:
        build_scheduler_unit(argv)
    assert raised.value.code == "service-impossible"


@pytest.mark.parametrize(
    ("minutes", "calendar", "cron"),
    [
        (1, "*:00/01", "*/1 * * * *"),
        (30, "*:00/30", "*/30 * * * *"),
        (60, "00/1:00", "0 */1 * * *"),
        (120, "00/2:00", "0 */2 * * *"),
        (720, "00/12:00", "0 */12 * * *"),
        (1440, "00:00", "0 0 * * *"),
    ],
)
def test_interval_that_fits_the_calendar_uses_it(minutes: float, calendar: str, cron: str) -> None:
    _, timer = build_timer_units(PLAIN, interval_minutes=minutes, deadline_minutes=30)
    assert f"OnCalendar={calendar}\nPersistent=true\n" in timer.text
    assert build_cron_line(["true"], interval_minutes=minutes) == f"{cron} true >/dev/null"


@pytest.mark.parametrize("minutes", [1.5, 45, 90, 300, 2880])
def test_other_interval_uses_a_monotonic_timer_and_cron_refuses_it(minutes: float) -> None:
    _, timer = build_timer_units(PLAIN, interval_minutes=minutes, deadline_minutes=30)
    assert f"OnUnitActiveSec={round(minutes * 60)}\n" in timer.text
    with pytest.raises(Failure) as raised:
        build_cron_line(PLAIN, interval_minutes=minutes)
    assert raised.value.code == "service-impossible"


def test_crontab_line_reaches_the_shell_unchanged(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; open(sys.argv[2], 'w').write(sys.argv[1])", ODD, str(tmp_path / "out")]
    line = build_cron_line(argv, interval_minutes=30)
    command = line.removeprefix("*/30 * * * * ").replace("\\%", "%")
    assert line.count("%") == line.count("\\%") == 1
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert (tmp_path / "out").read_text() == ODD


def test_crontab_line_refuses_a_line_break() -> None:
    with pytest.raises(Failure):
        build_cron_line(["/bin/true", "a\nb"], interval_minutes=60)


def test_cycle_service_accepts_a_skip_and_has_a_deadline() -> None:
    service, _ = build_timer_units(PLAIN, interval_minutes=60, deadline_minutes=30)
    assert "SuccessExitStatus=75\nTimeoutStartSec=1800\n" in service.text


def test_units_are_written_and_the_last_one_is_what_gets_enabled(tmp_path: Path) -> None:
    units = build_timer_units(PLAIN, interval_minutes=60, deadline_minutes=30)
    paths = write_units(units, tmp_path / "systemd" / "user")
    assert [path.name for path in paths] == ["comfywatchman-cycle.service", "comfywatchman-cycle.timer"]
    assert [path.read_text("utf-8") for path in paths] == [unit.text for unit in units]
    assert list_activation_commands(units)[1] == "systemctl --user enable --now comfywatchman-cycle.timer"


def complaints(units: Sequence[UnitFile], folder: Path) -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here to judge the units")
    paths = [str(path) for path in write_units(units, folder)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    command = [program, "--user", "verify", *paths]
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    output = completed.stdout + completed.stderr
    if "Failed to initialize manager" in output:
        pytest.skip("systemd-analyze cannot judge user units here")
    return "\n".join(line for line in output.splitlines() if "comfywatchman" in line)


def program_with_an_odd_name(folder: Path) -> str:
    program = folder / "a b 100% $x" / "run"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(program)


def test_systemd_accepts_the_scheduler_unit(tmp_path: Path) -> None:
    unit = build_scheduler_unit([program_with_an_odd_name(tmp_path), ODD, "--scheduler"])
    assert complaints([unit], tmp_path) == ""


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.slow
def test_systemd_accepts_the_supervisor_unit(tmp_path: Path, *, is_kept: bool) -> None:
    unit = build_supervisor_unit([program_with_an_odd_name(tmp_path), ODD], stop_seconds=34.5, is_kept=is_kept)
    assert complaints([unit], tmp_path) == ""
    broken = UnitFile(unit.name, unit.text.replace("KillMode=", "KillMode=no-"))
    assert "kill mode" in complaints([broken], tmp_path)


def test_supervisor_unit_fits_the_stop_and_keeps_a_kept_comfyui() -> None:
    unit = build_supervisor_unit(PLAIN, stop_seconds=34.5, is_kept=False)
    assert "Type=notify\n" in unit.text
    assert "TimeoutStopSec=35\nKillMode=mixed\n" in unit.text
    assert "OOMPolicy=continue\n" in unit.text
    # A supervisor that stops ComfyUI reports nothing meanwhile.
    assert "WatchdogSec=335\n" in unit.text
    assert "KillMode=process\n" in build_supervisor_unit(PLAIN, stop_seconds=1, is_kept=True).text


@pytest.mark.parametrize("minutes", [30, 120, 1440, 90])
def test_systemd_accepts_the_timer(tmp_path: Path, minutes: float) -> None:
    units = build_timer_units([program_with_an_odd_name(tmp_path), ODD], interval_minutes=minutes, deadline_minutes=30)
    assert complaints(units, tmp_path) == ""


def test_systemd_rejects_a_faulty_unit(tmp_path: Path) -> None:
    unit = UnitFile("comfywatchman.service", "[Service]\nExecStart=/no/such/program\nType=nonsense\n")
    assert complaints([unit], tmp_path) != ""


@pytest.mark.parametrize(
    "prefix",
    [
        "/home/you/.cache/uv/archive-v0/Zx9",
        "/data/uv/archive-v0/Zx9",
        "/data/uv/environments-v2/tool-1f",
        "/home/you/.cache/pipx/8a1b",
        "/home/you/.local/pipx/.cache/8a1b",
        "/scratch/checkout/.venv",
    ],
)
def test_environment_in_a_cache_is_temporary(prefix: str) -> None:
    assert find_temporary_environment(Path(prefix), Path("/scratch")) == Path(prefix)


@pytest.mark.parametrize(
    "prefix",
    ["/home/you/.local/share/uv/tools/comfywatchman", "/home/you/comfywatchman/.venv", "/usr", "/scratches/.venv"],
)
def test_lasting_environment_is_not_temporary(prefix: str) -> None:
    assert find_temporary_environment(Path(prefix), Path("/scratch")) is None
