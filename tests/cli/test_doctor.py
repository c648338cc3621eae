from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.base.lock import hold_lock
from comfywatchman.cli.doctor import format_checks
from tests.hosts import Host

OFFLINE = {"search__civitai_url": "", "search__huggingface_url": ""}

CHECKS = (
    DoctorCheck("Configuration", CheckState.OK, "~/config.toml"),
    DoctorCheck("Network", CheckState.WARN, "couldn't reach Civitai (name not found)", "Set HTTPS_PROXY."),
    DoctorCheck("Model folders", CheckState.FAIL, "/mnt/nas/models is not mounted; its models are unknown", "mount it"),
    DoctorCheck("Report", CheckState.SKIP, "waits for Service"),
    DoctorCheck("Disk", CheckState.OK, "212 GB free for models"),
)


def lines(checks: tuple[DoctorCheck, ...], width: int = 80) -> list[str]:
    return [click.unstyle(line).rstrip() for line in format_checks(checks, width)]


def test_problems_come_first_and_the_rest_is_one_line() -> None:
    assert lines(CHECKS, 60) == [
        "1 problem, 1 warning, 1 skipped, 2 ok. Start at the top.",
        "",
        " fail Model folders  /mnt/nas/models is not mounted; its",
        "                     models are unknown",
        "                     mount it",
        " warn Network        couldn't reach Civitai (name not found)",
        "                     Set HTTPS_PROXY.",
        " skip Report         waits for Service",
        "",
        " ok   Configuration, Disk",
    ]


def test_healthy_host_shows_every_finding() -> None:
    healthy = tuple(check for check in CHECKS if check.state is CheckState.OK)
    assert lines(healthy) == [
        "All 2 checks ok. Nothing to do.",
        "",
        " ok   Configuration  ~/config.toml",
        " ok   Disk           212 GB free for models",
    ]
    assert lines(CHECKS[2:3])[0] == "1 problem, 0 ok. Start at the top."


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path, **OFFLINE)
    found.set(downloads__keep_free_gb=0)
    return found


def states(host: Host) -> dict[str, str]:
    checks = json.loads(host.invoke("doctor", "--json").stdout)["checks"]
    return {check["name"]: check["state"] for check in checks}


@pytest.mark.slow
def test_first_run_names_the_missing_check(host: Host) -> None:
    result = host.invoke("doctor")
    assert result.exit_code == 1
    assert "no check has run yet" in result.stdout
    assert f"comfywatchman --home {host.home} --run-cycle" in result.stdout
    assert states(host) == {
        "Configuration": "ok",
        "ComfyUI": "ok",
        "Server": "skip",
        "Model folders": "ok",
        "Disk": "ok",
        "GPU": "ok",
        "Network": "skip",
        "Language model": "skip",
        "Keys": "ok",
        "Service": "warn",
        "Report": "fail",
        "Node packs": "skip",
        "Environment": "skip",
    }


@pytest.mark.slow
def test_checked_host_with_a_scheduler_is_well(host: Host) -> None:
    host.write("a.json")
    host.cycle()
    with hold_lock(host.layout.scheduler_lock, command="scheduler", clock=host.clock):
        assert set(states(host).values()) == {"ok", "skip"}
    assert host.invoke("doctor").exit_code == 0


@pytest.mark.slow
def test_old_report_fails(host: Host) -> None:
    host.clock.shift_wall(-3 * 3600)
    host.cycle()
    assert states(host)["Report"] == "fail"


@pytest.mark.slow
def test_folder_that_cannot_be_read_is_named(host: Host, tmp_path: Path) -> None:
    (host.comfyui / "models/loras").symlink_to(tmp_path / "unplugged")
    output = host.invoke("doctor").stdout
    assert "its models are unknown, not missing" in output
    assert "Mount the disk of" in output


@pytest.mark.slow
def test_configuration_of_comfyui_that_it_refuses_is_named(host: Host) -> None:
    (host.comfyui / "extra_model_paths.yaml").write_text("a:\n  loras:\n")
    assert states(host)["ComfyUI"] == "fail"


@pytest.mark.slow
def test_disk_without_room_is_a_warning(host: Host) -> None:
    host.set(downloads__keep_free_gb=10**6)
    assert states(host)["Disk"] == "warn"


@pytest.mark.slow
def test_site_that_cannot_be_reached_is_named(host: Host) -> None:
    host.set(search__civitai_url="http://127.0.0.1:1", nodes__ask_registry=False)
    output = host.invoke("doctor").stdout
    assert "couldn't reach Civitai" in output
    assert "Check the connection" in output


@pytest.mark.slow
def test_broken_configuration_is_a_finding(host: Host) -> None:
    (host.home / "config").mkdir(exist_ok=True)
    ended = host.program("--config", str(_broken(host)), "doctor")
    assert ended.returncode == 1
    assert b"fail Configuration" in ended.stdout
    assert b"waits for Configuration" in ended.stdout


def _broken(host: Host) -> Path:
    path = host.folder / "broken.toml"
    path.write_text("[schedule]\nmin_vram_gb = -1\n")
    return path


@pytest.mark.slow
def test_pack_that_cannot_be_imported_has_its_reason(host: Host) -> None:
    folder = host.pack("Ink")
    (folder / "__init__.py").write_text("import no_such_package\n" + (folder / "__init__.py").read_text())
    (host.comfyui / "venv/lib/python3.12/site-packages/torch").mkdir(parents=True)
    (host.comfyui / "venv/lib/python3.12/site-packages/torch/__init__.py").write_text("")
    (host.comfyui / "venv/pyvenv.cfg").write_text("version = 3.12.0\n")
    host.write("a.json", last="Ink")
    host.cycle()
    assert states(host)["Node packs"] in {"fail", "ok"}
