from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from comfywatchman.base.errors import Failure
from comfywatchman.cli.main import main
from comfywatchman.cli.version.verify import describe_unpinned, summarize
from tests.hosts import CHECKPOINT, Host
from tests.versions.hosts import commit_all, install_package

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write("good.json")
    venv = host.comfyui / ".venv"
    site = venv / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    install_package(site, "torch", "2.9.0+cpu")
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = 3.{sys.version_info[1]}.1\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(sys.executable)
    (host.comfyui / ".gitignore").write_text("/.venv/\n/models/\n/user/\n/custom_nodes/\n")
    commit_all(host.comfyui, origin="https://example.org/ComfyUI.git")
    return host


def create(host: Host, tag: str = "first", *options: str) -> Any:
    return host.invoke("version", "create", tag, "--offline", "--workflow", str(host.workflows), *options)


def test_version_is_made_shown_and_listed(host: Host) -> None:
    made = create(host)
    assert made.exit_code == 0, made.output
    assert "comfy-first.lock.json: ComfyUI with 0 custom nodes, 1 package, 1 model, 1 workflow." in made.stdout
    assert "2 parts cannot be restored from the lock alone:" in made.stdout
    shown = host.invoke("version", "show", "first").output
    assert f"checkpoints/{CHECKPOINT}" in shown
    assert "good.json\tREADY" in shown
    assert "no address is known" in shown
    assert "torch for cpu" in shown
    (row,) = host.invoke("version", "list").output.splitlines()[1:]
    assert row.split("\t")[0] == "first"
    (entry,) = json.loads(host.invoke("version", "list", "--json").stdout)["versions"]
    assert (entry["tag"], entry["models"], entry["packages"]) == ("first", 1, 1)


def test_same_state_is_not_written_again_and_another_not_overwritten(host: Host) -> None:
    create(host)
    lock = host.home / "lockfiles" / "comfy-first.lock.json"
    content = lock.read_bytes()
    assert "Nothing changed since" in create(host).stdout
    host.pack("Added")
    refused = create(host)
    assert refused.exception is not None
    assert getattr(refused.exception, "code", None) == "version-exists"
    assert lock.read_bytes() == content
    assert json.loads(create(host, "first", "--replace", "--json").stdout)["is_new"] is True
    assert lock.read_bytes() != content


def test_require_ready_refuses_a_missing_model(host: Host) -> None:
    host.write("bad.json", checkpoint="absent.safetensors")
    refused = create(host, "first", "--require-ready")
    assert getattr(refused.exception, "code", None) == "version-not-ready"
    lock = json.loads(create(host, "first", "--json").stdout)["lock"]
    assert {"kind": "model", "name": "absent.safetensors", "reason": "missing"} in lock["unpinned"]
    assert [one["status"] for one in lock["workflows"]] == ["MISSING", "READY"]


def test_verify_follows_the_host(host: Host) -> None:
    create(host)
    good = host.invoke("version", "verify", "first")
    listing = f"comfywatchman --home {host.home} version show first"
    assert (good.exit_code, good.output) == (0, f"4 parts: 4 ok.\n{describe_unpinned(2, listing)}\n")
    model = host.comfyui / "models" / "checkpoints" / CHECKPOINT
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"x")
    assert host.invoke("version", "verify", "first", "--quick").exit_code == 0
    bad = host.invoke("version", "verify", "first")
    assert bad.exit_code == 1
    assert "model\tcheckpoints/sample_model.safetensors\tdifferent" in bad.output
    model.unlink()
    states = json.loads(host.invoke("version", "verify", "first", "--json").stdout)["findings"]
    assert [one["state"] for one in states if one["kind"] == "model"] == ["missing"]


def test_model_on_another_disk_is_found(host: Host) -> None:
    create(host)
    other = host.folder / "other" / "checkpoints"
    other.mkdir(parents=True)
    (host.comfyui / "models" / "checkpoints" / CHECKPOINT).rename(other / CHECKPOINT)
    (host.comfyui / "extra_model_paths.yaml").write_text(
        f"a:\n  base_path: {host.folder / 'other'}\n  checkpoints: checkpoints\n"
    )
    result = host.invoke("version", "verify", "first", "--json")
    assert [one["state"] for one in json.loads(result.stdout)["findings"] if one["kind"] == "model"] == ["ok"]


def test_broken_checkout_ends_with_2(host: Host) -> None:
    create(host)
    for thing in sorted((host.comfyui / ".git" / "objects").glob("??/*")):
        thing.unlink()
    assert host.invoke("version", "verify", "first").exit_code == 2


def test_versions_are_compared(host: Host) -> None:
    create(host)
    host.pack("Added")
    create(host, "second")
    assert host.invoke("version", "compare", "first", "first").output == "Both versions describe the same state.\n"
    changed = host.invoke("version", "compare", "first", str(host.home / "lockfiles" / "comfy-second.lock.json"))
    assert changed.exit_code == 1
    assert "node\tpack-Added\tadded" in changed.output
    (difference,) = json.loads(host.invoke("version", "compare", "first", "second", "--json").stdout)["differences"]
    assert difference["kind"] == "node"


def test_damaged_lock_does_not_hide_the_others(host: Host) -> None:
    assert "There are no versions" in host.invoke("version", "list").output
    create(host)
    (host.home / "lockfiles" / "comfy-bad.lock.json").write_text("{")
    result = host.invoke("version", "list")
    assert result.exit_code == 1
    assert "first" in result.stdout
    assert "comfy-bad.lock.json is not a version lock" in result.stderr


def test_several_environments_must_be_told_apart(host: Host) -> None:
    site = host.comfyui / "venv" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    install_package(site, "torch", "2.8.0")
    (host.comfyui / "venv" / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = 3.{sys.version_info[1]}.1\n")
    assert getattr(create(host).exception, "code", None) == "version-environment-unknown"
    assert create(host, "first", "--venv", str(host.comfyui / ".venv")).exit_code == 0
    refused = create(host, "second", "--venv", str(host.home))
    assert getattr(refused.exception, "code", None) == "version-environment-unknown"


def test_unknown_version_names_the_list_of_this_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    failure = CliRunner().invoke(main, ["--home", str(home), "version", "verify", "absent"]).exception
    assert isinstance(failure, Failure)
    assert failure.code == "version-lock-missing"
    assert f"comfywatchman --home {home} version list" in (failure.hint or "")


def test_verification_over_nothing_claims_nothing() -> None:
    assert summarize([]) == "Nothing was compared: the version has no such part."
    assert summarize(["ok"]) == "1 part: 1 ok."
    assert summarize(["missing", "ok", "ok"]) == "3 parts: 2 ok, 1 missing."
    assert describe_unpinned(1, "show a") == "1 part of the version cannot be restored from the lock alone: show a"
