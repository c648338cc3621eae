from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.config import Home
from comfywatchman.comfyui.install.identity import ComfyUIIdentity, identify_comfyui
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem
from comfywatchman.readiness.downloads.plan_files import write_plan
from comfywatchman.readiness.downloads.queue import DownloadQueue
from comfywatchman.readiness.sample.host import build_program_files
from tests.model_files import put
from tests.servers.faults import Fault, FaultServer
from tests.sources.download.support import model, sha256

pytestmark = pytest.mark.slow


@dataclass
class Host:
    """A ComfyUI and a home that watches it; commands run as children, as a person runs them."""

    root: Path
    hosts: tuple[str, ...] = ()

    @property
    def home(self) -> Home:
        return Home(self.root / "home")

    @property
    def comfyui(self) -> ComfyUIIdentity:
        return identify_comfyui(self.root / "ComfyUI")

    def models(self, *below: str) -> Path:
        return self.root.joinpath("ComfyUI", "models", *below)

    def environment(self, extra: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "COMFYWATCHMAN_DOWNLOADS__LOCAL_HOSTS": json.dumps(list(self.hosts)),
            "COMFYWATCHMAN_DOWNLOADS__KEEP_FREE_GB": "0",
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
            **extra,
        }

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        place = ("--home", str(self.home.folder), "--comfyui", str(self.root / "ComfyUI"))
        command = (sys.executable, "-m", "comfywatchman", *place, *arguments)
        return subprocess.Popen(
            command,
            env=self.environment(extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
        )

    def run(self, *arguments: str, **extra: str) -> tuple[int, str, str]:
        with self.start(*arguments, **extra) as child:
            output, errors = child.communicate(timeout=120)
        return child.returncode, output, errors

    def run_json(self, *arguments: str, **extra: str) -> tuple[int, dict[str, Any]]:
        status, output, errors = self.run(*arguments, "--json", **extra)
        assert output, errors
        return status, json.loads(output)

    def queue(self) -> DownloadQueue:
        return msgspec.json.decode((self.home.state / "downloads.json").read_bytes(), type=DownloadQueue)

    def plan(self, *items: PlanItem, cycle: str = "c1") -> str:
        plan = DownloadPlan(
            cycle, "2026-11-20T14:00:00Z", items, sum(item.size or 0 for item in items), comfyui=self.comfyui
        )
        return str(write_plan(self.home, plan))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, content in build_program_files().items():
        put(tmp_path / "ComfyUI" / name, content)
    host = Host(tmp_path)
    host.models().mkdir(exist_ok=True)
    return host


def item(server: FaultServer, name: str = "wan/a.safetensors", folder: str = "loras", **changes: Any) -> PlanItem:
    content = server.content
    plain = PlanItem(name, folder, server.url, len(content), sha256(content), "huggingface")
    return msgspec.structs.replace(plain, **changes)


def test_plan_is_downloaded_into_the_model_folders(host: Host) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        path = host.plan(item(server))
        status, output, errors = host.run("download", "--plan", path)
        assert (status, output) == (0, ""), errors
        assert "wan/a.safetensors: downloaded" in errors
        assert host.models("loras", "wan", "a.safetensors").read_bytes() == server.content
        asked = len(server.asked)
        status, answer = host.run_json("download", "--plan", path)
        assert (status, answer["outcomes"][0]["how"], len(server.asked)) == (0, "there", asked)


def test_named_models_are_downloaded(host: Host) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        host.plan(item(server), item(server, "b.safetensors", sha256=None, size=None))
        status, answer = host.run_json("download", "b.safetensors")
        assert (status, [one["filename"] for one in answer["outcomes"]]) == (0, ["b.safetensors"])
        assert not host.models("loras", "wan").exists()
        status, _output, errors = host.run("download", "nobody.safetensors")
        assert status == 1
        assert "download-plan-invalid" in errors


def test_list_downloads_nothing(host: Host) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        host.plan(
            item(server),
            item(server, "../evil.safetensors"),
            item(server, "b.ckpt", "checkpoints"),
            item(server, "c.safetensors", url="https://example.com/c.safetensors"),
        )
        status, answer = host.run_json("download", "--list")
        assert status == 0
        assert [one.get("code") for one in answer["items"]] == [
            None,
            "download-name-unsafe",
            "download-pickle-refused",
            "download-host-refused",
        ]
        status, output, _errors = host.run("download", "--list")
        assert "wan/a.safetensors\t0.3 MiB\t" in output
        assert server.asked == []


def test_failed_download_exits_with_1(host: Host) -> None:
    with FaultServer(model(), [Fault("status", 403, {"x-error-code": "GatedRepo"})]) as server:
        host.hosts = (server.host,)
        status, _output, errors = host.run("download", "--plan", host.plan(item(server)))
    assert status == 1
    assert "failed (download-no-access)" in errors
    assert "Accept the terms" in errors
    assert host.queue().unfinished(host.comfyui.id) == ()


def test_forgotten_downloads_are_removed(host: Host) -> None:
    with FaultServer(model(), [Fault("status", 429, {"retry-after": "900"})] * 2) as server:
        host.hosts = (server.host,)
        host.plan(item(server), item(server, "b.safetensors"), cycle="c7")
        status, answer = host.run_json("download", "--plan", "c7.json")
        assert (status, [one["code"] for one in answer["outcomes"]]) == (1, ["download-later"] * 2)
        assert host.run_json("download", "--forget", "b.safetensors")[1]["forgotten"] == ["b.safetensors"]
        assert [one.filename for one in host.queue().unfinished(host.comfyui.id)] == ["wan/a.safetensors"]
        assert host.run("download", "--forget")[0] == 0
        assert host.queue().unfinished(host.comfyui.id) == ()


def test_download_needs_a_comfyui(host: Host) -> None:
    (host.root / "ComfyUI" / "main.py").unlink()
    status, _output, errors = host.run("download")
    assert status == 1
    assert "comfyui-not-found" in errors


def test_missing_plan_shows_the_next_step(host: Host) -> None:
    assert "--run-cycle" in host.run("download", "x.safetensors")[2]
    assert host.run("download")[0] == 0


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_download_continues_after_ctrl_c(host: Host) -> None:
    content = model(2_000_000)
    with FaultServer(content, [Fault("stall", 1_000_000)]) as server:
        host.hosts = (server.host,)
        child = host.start("download", "--plan", host.plan(item(server)), "--json")
        folder = host.models("loras", "wan")
        wait_until(lambda: folder.is_dir() and any(p.stat().st_size >= 1_000_000 for p in folder.glob(".*.part")))
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        output, _errors = child.communicate(timeout=100)
        assert time.monotonic() - began < 25
        assert child.returncode == 130
        assert json.loads(output)["outcomes"][0]["code"] == "download-stopped"
        status, answer = host.run_json("download")
        assert (status, answer["outcomes"][0]["resumed_from"]) == (0, 1_000_000)
        assert server.asked[1].headers["range"] == "bytes=1000000-"
    assert (folder / "a.safetensors").read_bytes() == content
    assert [path.name for path in folder.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("place", ["download.write", "download.before_publish", "download.after_publish"])
def test_download_continues_after_a_kill_at_each_failpoint(host: Host, place: str) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        path = host.plan(item(server))
        status, _output, _errors = host.run("download", "--plan", path, COMFYWATCHMAN_FAILPOINTS=f"{place}=kill")
        assert status == -signal.SIGKILL
        named = host.models("loras", "wan", "a.safetensors")
        assert named.exists() == (place == "download.after_publish")
        status, answer = host.run_json("download")
        assert status == 0, answer
        assert named.read_bytes() == server.content
        assert [entry.name for entry in named.parent.iterdir()] == [named.name]
        assert host.queue().unfinished(host.comfyui.id) == ()


def test_full_disk_keeps_the_partial_file(host: Host) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        path = host.plan(item(server))
        failpoints = {"COMFYWATCHMAN_FAILPOINTS": "download.write=raise:ENOSPC"}
        status, answer = host.run_json("download", "--plan", path, **failpoints)
        assert (status, answer["outcomes"][0]["code"]) == (1, "download-no-space")
        assert not host.models("loras", "wan", "a.safetensors").exists()
        assert host.run("download")[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_small_disk_is_refused_before_it_is_full(host: Host) -> None:
    small = host.models("loras")
    small.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        with FaultServer(model(3_000_000)) as server:
            host.hosts = (server.host,)
            path = host.plan(item(server))
            status, answer = host.run_json("download", "--plan", path)
            assert (status, answer["outcomes"][0]["code"]) == (1, "download-no-space")
            assert len(server.asked) == 1
            # Nobody says its size, so it is noticed only while it comes.
            path = host.plan(item(server, "b.safetensors", size=None))
            server._script.append(Fault("chunked"))
            status, answer = host.run_json("download", "--plan", path)
            assert (status, answer["outcomes"][0]["code"]) == (1, "download-no-space")
            assert not (small / "b.safetensors").exists()
    finally:
        subprocess.run(["umount", small], check=True)


def test_two_processes_download_one_target_once(host: Host) -> None:
    content = model(3_000_000)
    with FaultServer(content) as server:
        host.hosts = (server.host,)
        path = host.plan(item(server))
        with ExitStack() as stack:
            children = [stack.enter_context(host.start("download", "--plan", path, "--json")) for _ in range(2)]
            answers = [json.loads(child.communicate(timeout=120)[0])["outcomes"][0] for child in children]
    folder = host.models("loras", "wan")
    assert [path.name for path in folder.iterdir()] == ["a.safetensors"]
    assert (folder / "a.safetensors").read_bytes() == content
    ends = sorted(answer.get("how") or answer["code"] for answer in answers)
    assert ends in (["downloaded", "lock-held"], ["downloaded", "there"])
    assert sum(answer.get("received_bytes", 0) for answer in answers) == len(content)


def test_two_homes_download_one_target_once(host: Host) -> None:
    content = model(3_000_000)
    with FaultServer(content) as server:
        host.hosts = (server.host,)
        path = host.plan(item(server))
        with ExitStack() as stack:
            one = stack.enter_context(host.start("download", "--plan", path, "--json"))
            other = stack.enter_context(
                host.start("--home", str(host.root / "other"), "download", "--plan", path, "--json")
            )
            answers = [json.loads(child.communicate(timeout=120)[0])["outcomes"][0] for child in (one, other)]
    assert "downloaded" in {answer.get("how") for answer in answers}
    assert (host.models("loras", "wan", "a.safetensors")).read_bytes() == content


def test_identical_local_file_is_linked(host: Host) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        here = put(host.models("checkpoints", "other.safetensors"), server.content)
        put(host.models("loras", "copy.safetensors"), server.content)
        assert "hard links would free 0.3 MiB" in host.run("duplicates", "--hash")[1]
        status, answer = host.run_json("download", "--plan", host.plan(item(server)))
        assert (status, answer["outcomes"][0]["how"]) == (0, "linked")
        assert host.models("loras", "wan", "a.safetensors").stat().st_ino in {
            here.stat().st_ino,
            host.models("loras", "copy.safetensors").stat().st_ino,
        }
        assert server.asked == []
        _status, found = host.run_json("duplicates")
        assert (len(found["duplicates"][0]["copies"]), found["not_hashed"]) == (3, 0)


def test_simultaneous_downloads_share_the_speed_limit(host: Host) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultServer(model(400_000, seed=n))) for n in range(4)]
        host.hosts = tuple(server.host for server in servers)
        items = [item(server, f"{n}.safetensors") for n, server in enumerate(servers)]
        began = time.monotonic()
        status, answer = host.run_json("download", "--plan", host.plan(*items), "--parallel", "4", "--limit", "1")
        assert status == 0
        assert time.monotonic() - began > 1.2
        assert [one["how"] for one in answer["outcomes"]] == ["downloaded"] * 4


def _kill_at_random_moments(host: Host, kills: int) -> None:
    """Kill downloads of several files until all are there; check each time that no name holds anything wrong."""
    dice = random.Random(7)  # noqa: S311 - moments of a test
    rounds = 0
    done = 0
    while done < kills:
        rounds += 1
        with ExitStack() as stack:
            servers = [stack.enter_context(FaultServer(model(3_000_000, seed=n))) for n in range(3)]
            host.hosts = tuple(server.host for server in servers)
            # The same bytes keep their unfinished file from server to server, so the address does not matter.
            items = [item(server, f"{rounds}/{n}.safetensors") for n, server in enumerate(servers)]
            path = host.plan(*items, cycle=f"c{rounds}")
            folder = host.models("loras", str(rounds))
            status = -signal.SIGKILL
            while status == -signal.SIGKILL:
                child = host.start("download", "--plan", path, "--limit", "12")
                if done < kills:
                    time.sleep(dice.uniform(0.25, 1.2))
                    child.kill()
                child.communicate(timeout=120)
                status = child.returncode
                done += status == -signal.SIGKILL
                for number, server in enumerate(servers):
                    named = folder / f"{number}.safetensors"
                    assert not named.exists() or named.read_bytes() == server.content
            assert status == 0
            assert sorted(entry.name for entry in folder.iterdir()) == [f"{n}.safetensors" for n in range(3)]
            received = sum(len(server.asked) for server in servers)
            assert received >= 3


def test_twenty_random_kills_lose_nothing(host: Host) -> None:
    _kill_at_random_moments(host, 20)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_five_hundred_random_kills_lose_nothing(host: Host) -> None:
    _kill_at_random_moments(host, 500)


def test_missing_plan_states_whether_a_cycle_has_searched(host: Host) -> None:
    for arguments in (("--list",), ("some.safetensors",)):
        status, _output, errors = host.run("download", *arguments)
        assert (status, "Error (download-no-plan): No cycle has checked this host yet" in errors) == (1, True)
        assert f"Run: comfywatchman --home {host.home.folder} --comfyui {host.root / 'ComfyUI'} --run-cycle" in errors
    status, output, errors = host.run("download")
    assert (status, output) == (0, "")
    assert errors.startswith("No download is unfinished. No cycle has checked this host yet")


def test_empty_list_after_a_complete_cycle_is_not_a_failure(host: Host) -> None:
    assert host.run("--run-cycle", COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB="0")[0] == 0
    status, output, errors = host.run("download", "--list")
    assert (status, output) == (0, "Nothing to download.\n")
    assert "found no missing model, so there is nothing to download." in errors
    assert host.run_json("download", "--list")[1]["items"] == []


def test_newest_plan_is_named_when_nothing_is_unfinished(host: Host) -> None:
    with FaultServer(model()) as server:
        host.hosts = (server.host,)
        path = host.plan(item(server))
        status, output, errors = host.run("download")
        assert (status, output, server.asked) == (0, "", [])
        assert "No download is unfinished. To fetch the newest plan: comfywatchman " in errors
        assert f"download --plan {Path(path).name}" in errors
