"""Scopes of systemd, with programs that stand for systemd and use real cgroups."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor.process import scope
from comfywatchman.supervisor.process.child import SupervisedProcess
from comfywatchman.supervisor.process.scope import (
    SystemdPrograms,
    can_create_scopes,
    find_systemd,
    find_usable_systemd,
    kill_scope,
    name_scope,
)
from tests.supervisor.programs import FAMILY, build_start, is_running, read_pids, wait_until

CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
RUN = """#!/bin/sh
while [ "$1" != -- ]; do
  case "$1" in --unit=*) unit="${{1#--unit=}}" ;; esac
  shift
done
shift
mkdir "{cgroups}/$unit" && echo $$ > "{cgroups}/$unit/cgroup.procs" && exec "$@"
"""
CONTROL = """#!/bin/sh
for unit; do :; done
echo 1 > "{cgroups}/$unit/cgroup.kill"
"""
CLOSING = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec setsid --fork "$@"
"""


@pytest.fixture
def cgroups() -> Iterator[Path]:
    """Return a cgroup in which groups can be made and killed; skip where there is none."""
    for root in CGROUPS:
        folder = root / f"comfywatchman-test-{uuid.uuid4().hex}"
        try:
            folder.mkdir()
        except OSError:
            continue
        if (folder / "cgroup.kill").exists():
            break
        folder.rmdir()
    else:
        pytest.skip("no cgroup of version 2 can be created here")
    yield folder
    for group in folder.iterdir():
        if group.is_dir():
            assert wait_until(lambda: "populated 0" in (group / "cgroup.events").read_text())  # noqa: B023
            group.rmdir()
    folder.rmdir()


def write_program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def systemd(tmp_path: Path, cgroups: Path) -> SystemdPrograms:
    run = write_program(tmp_path / "systemd-run", RUN.format(cgroups=cgroups))
    control = write_program(tmp_path / "systemctl", CONTROL.format(cgroups=cgroups))
    return SystemdPrograms(run, control, is_root=True)


@pytest.mark.parametrize(("is_root", "manager"), [(True, []), (False, ["--user"])])
def test_commands_ask_the_manager_of_the_user(*, is_root: bool, manager: list[str]) -> None:
    programs = SystemdPrograms("systemd-run", "systemctl", is_root=is_root)
    assert list(programs.build_start("x.scope")) == [
        "systemd-run",
        *manager,
        "--scope",
        "--quiet",
        "--collect",
        "--unit=x.scope",
        "--",
    ]
    assert list(programs.build_kill("x.scope")) == ["systemctl", *manager, "kill", "--signal=SIGKILL", "x.scope"]


def test_systemd_is_found_where_it_is_the_init_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert find_systemd(tmp_path) is None
    for name in ("systemd-run", "systemctl"):
        write_program(programs / name, "#!/bin/sh\n")
    found = find_systemd(tmp_path)
    assert found is not None
    assert found.is_root == (os.geteuid() == 0)
    assert find_systemd(programs) is None


def test_tests_cannot_create_scopes_in_the_systemd_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    write_program(tmp_path / "systemctl", "#!/bin/sh\n")
    # `systemctl` behind the other folders: a machine with systemd has its own.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}")
    systemd = find_systemd(tmp_path)
    assert systemd is not None
    assert subprocess.run([systemd.run, "--version"], check=False).returncode != 0
    assert not can_create_scopes(systemd)


def test_names_differ() -> None:
    assert name_scope() != name_scope()
    assert name_scope().endswith(".scope")


@pytest.mark.slow
def test_scopes_are_used_only_if_a_program_runs_in_one_as_our_child(
    tmp_path: Path, systemd: SystemdPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_create_scopes(systemd)
    refused = SystemdPrograms("/bin/false", "/bin/true", is_root=False)
    gone = SystemdPrograms(str(tmp_path / "none"), "/bin/true", is_root=False)
    outside = SystemdPrograms(write_program(tmp_path / "outside", RUN.format(cgroups=tmp_path)), "", is_root=True)
    elsewhere = SystemdPrograms(write_program(tmp_path / "closing", CLOSING), "", is_root=True)
    for programs in (refused, gone, outside, elsewhere):
        assert not can_create_scopes(programs)
    for found, usable in ((None, None), (refused, None), (systemd, systemd)):
        monkeypatch.setattr(scope, "find_systemd", lambda found=found: found)
        assert find_usable_systemd() == usable
    kill_scope(gone, "x.scope")


@pytest.mark.slow
def test_processes_that_outlive_a_killed_guard_are_killed(tmp_path: Path, systemd: SystemdPrograms) -> None:
    clock = SystemClock()
    process = SupervisedProcess.start(
        build_start(tmp_path, FAMILY.format(then="time.sleep(600)")),
        tmp_path / "run",
        boot_id=clock.boot_id(),
        now_seconds=clock.boottime(),
        is_kept=False,
        systemd=systemd,
    )
    pids = read_pids(process.log)
    assert all(is_running(pid) for pid in pids)
    os.kill(process.leader, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert wait_until(lambda: not any(is_running(pid) for pid in pids))
    process.release()


@pytest.mark.slow
def test_next_supervisor_kills_what_is_left_in_the_scope(tmp_path: Path, systemd: SystemdPrograms) -> None:
    clock = SystemClock()
    folder = tmp_path / "run"
    process = SupervisedProcess.start(
        build_start(tmp_path, FAMILY.format(then="time.sleep(600)")),
        folder,
        boot_id=clock.boot_id(),
        now_seconds=clock.boottime(),
        is_kept=True,
        systemd=systemd,
    )
    pids = read_pids(process.log)
    os.kill(process.leader, signal.SIGKILL)
    assert wait_until(lambda: not is_running(process.leader))
    assert SupervisedProcess.adopt(folder, boot_id=clock.boot_id(), systemd=systemd) is None
    assert wait_until(lambda: not any(is_running(pid) for pid in pids))
    process.release()
