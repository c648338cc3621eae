"""Cycles on real files: reading, acknowledging, reporting, and recovery from damaged state."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from functools import partial
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.host import SleepMark
from comfywatchman.base.lock import hold_lock
from comfywatchman.readiness.context import CycleRequest
from comfywatchman.readiness.cycle import run_cycle
from comfywatchman.readiness.report.troubles import TroubleKind, list_troubles
from comfywatchman.readiness.sample.workflows import build_png_with_text
from comfywatchman.readiness.workflows.discovery import WatchedRoot
from tests.hosts import CHECKPOINT, Host, graph
from tests.model_files import put, safetensors
from tests.nvml.library import build_nvml, write_nvml_state

pytestmark = pytest.mark.slow

slow = partial(pytest.param, marks=pytest.mark.slow)
needs_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def statuses(host: Host) -> dict[str, str]:
    return {Path(workflow["path"]).name: workflow["status"] for workflow in host.report()["workflows"]}


def test_first_cycle_reads_acknowledges_and_judges_every_workflow(host: Host) -> None:
    host.write("ready.json")
    host.write("lora.json", lora="absent.safetensors")
    host.write("node.json", last="NobodyKnows")
    host.write("broken.json", b"{")
    result = host.cycle()
    assert result.record.success
    assert (result.record.workflows, result.record.read) == (4, 4)
    assert statuses(host) == {
        "ready.json": "READY",
        "lora.json": "MISSING",
        "node.json": "UNCERTAIN",
        "broken.json": "INVALID",
    }
    assert [entry.kind for entry in host.intake()] == ["new"] * 4
    assert list(result.record.phases) == [
        "gates",
        "nodes",
        "models",
        "server",
        "workflows",
        "verdicts",
        "report",
        "hashing",
        "caches",
    ]
    assert host.history() == [result.record]


def test_host_without_workflows_gets_a_report(host: Host) -> None:
    result = host.cycle()
    assert result.record.success
    assert host.report()["summary"]["workflows"] == 0
    assert "No workflows found" in host.layout.status_markdown.read_text("utf-8")


def inodes(host: Host) -> list[tuple[int, int]]:
    stats = [p.stat() for p in (host.layout.model_cache, host.layout.pack_cache, host.layout.known_workflows)]
    return [(status.st_ino, status.st_mtime_ns) for status in stats]


def test_the_second_cycle_reads_nothing_and_rewrites_no_cache(host: Host) -> None:
    for n in range(5):
        host.write(f"{n}.json", lora=f"absent{n}.safetensors")
    host.write("picture.png", build_png_with_text("workflow", graph()))
    host.write("plain.png", build_png_with_text("Author", b"me"))
    host.cycle()
    before, entries = inodes(host), host.report()["workflows"]
    result = host.cycle()
    assert result.record.read == 0
    assert inodes(host) == before
    assert host.report()["workflows"] == entries
    assert len(host.intake()) == 6


@pytest.mark.slow
def test_one_changed_workflow_is_the_only_one_read(host: Host) -> None:
    for n in range(5):
        host.write(f"{n}.json", lora=f"absent{n}.safetensors")
    host.cycle()
    host.write("3.json")
    result = host.cycle()
    assert result.record.read == 1
    assert statuses(host)["3.json"] == "READY"
    assert [entry.kind for entry in host.intake()[5:]] == ["updated"]


@pytest.mark.slow
def test_a_changed_picture_is_read_once(host: Host) -> None:
    picture = host.write("a.png", build_png_with_text("workflow", graph()))
    assert host.cycle().record.read == 1
    picture.write_bytes(build_png_with_text("workflow", graph(lora="absent.safetensors")))
    assert host.cycle().record.read == 1
    assert statuses(host) == {"a.png": "MISSING"}


def test_picture_that_lost_its_workflow_is_acknowledged_as_removed(host: Host) -> None:
    picture = host.write("a.png", build_png_with_text("workflow", graph()))
    host.cycle()
    picture.write_bytes(build_png_with_text("Author", b"me"))
    host.cycle()
    assert statuses(host) == {}
    assert [entry.kind for entry in host.intake()] == ["new", "removed"]


def test_pictures_are_ignored_when_media_is_off(host: Host) -> None:
    host.write("a.png", build_png_with_text("workflow", graph()))
    host.set(workflows__media=False)
    assert host.cycle().record.workflows == 0


def test_renamed_workflow_is_recognised_without_reading_it(host: Host) -> None:
    path = host.write("a.json", lora="absent.safetensors")
    host.cycle()
    path.rename(path.with_name("b.json"))
    entry = host.entry("b.json")
    assert entry.intake is not None
    assert entry.intake.kind == "renamed"
    assert list(statuses(host)) == ["b.json"]
    assert host.report()["intake"][0]["previous_path"].endswith("a.json")


def test_a_removed_workflow_leaves_the_report(host: Host) -> None:
    path = host.write("a.json")
    host.write("b.json")
    host.cycle()
    path.unlink()
    host.cycle()
    assert list(statuses(host)) == ["b.json"]
    assert host.intake()[-1].kind == "removed"


def test_a_new_pack_changes_verdicts_without_a_change_of_the_workflow(host: Host) -> None:
    host.write("a.json", last="MyNode")
    assert host.entry("a.json").status == "UNCERTAIN"
    host.pack("MyNode")
    result = host.cycle()
    assert statuses(host) == {"a.json": "READY"}
    assert result.record.read == 0


@pytest.mark.slow
def test_time_of_the_last_resolution_is_recorded(host: Host) -> None:
    host.write("a.json", lora="one.safetensors", last="MyNode")
    assert host.entry("a.json").last_resolved_at is None
    host.model("loras/one.safetensors")
    assert host.entry("a.json").last_resolved_at is None
    host.pack("MyNode")
    result = host.cycle()
    resolved_at = format_utc(host.clock.now())
    assert result.record.resolved == 1
    assert host.entry("a.json").last_resolved_at == resolved_at, "a later cycle keeps it"
    (host.comfyui / "models/loras/one.safetensors").unlink()
    assert host.entry("a.json").last_resolved_at == resolved_at, "it was complete then"
    host.model("loras/one.safetensors")
    entry = host.entry("a.json")
    assert entry.last_resolved_at == format_utc(host.clock.now())
    assert host.history()[-1].resolved == 1


def test_workflow_complete_at_first_sight_counts_as_resolved(host: Host) -> None:
    host.write("a.json")
    result = host.cycle()
    assert result.record.resolved == 1
    assert result.status is not None
    assert result.status.workflows[0].last_resolved_at == format_utc(host.clock.now())


def test_a_broken_file_keeps_when_it_was_last_complete(host: Host) -> None:
    host.write("a.json")
    complete_at = host.entry("a.json").last_resolved_at
    host.write("a.json", b"{")
    entry = host.entry("a.json")
    assert (entry.status, entry.last_resolved_at) == ("INVALID", complete_at)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.mark.parametrize(
    ("state", "settings", "reason"),
    [
        (["init 0", "gpu GPU-a 0 0 24576 3000 400 -1 Card"], {"schedule__min_vram_gb": 6.0}, "vram-low"),
        (
            ["init 0", "gpu GPU-a 0 0 24576 9000 400 -1 Card"],
            {"schedule__max_gpu_memory_used_percent": 20.0},
            "gpu-busy",
        ),
        (["init 999"], {"schedule__min_vram_gb": 6.0}, "gpu-unknown"),
        (["init 0", "gpu GPU-a 0 0 24576 20000 400 -1 Card"], {"schedule__min_vram_gb": 6.0}, None),
    ],
)
@pytest.mark.slow
def test_gpu_gates_skip_a_cycle(
    host: Host, library: Path, state: list[str], settings: dict[str, object], reason: str | None
) -> None:
    host.write("a.json")
    host.cycle()
    checked_at = host.report()["checked_at"]
    host.write("b.json")
    write_nvml_state(library, *state)
    host.set(**settings)
    completed = host.program("--run-cycle", LD_LIBRARY_PATH=str(library.parent))
    report = host.report()
    assert host.history()[-1].skipped_reason == reason
    assert report["cycle"]["skipped_reason"] == reason
    if reason is None:
        assert completed.returncode == 0, completed.stderr
        assert report["host"]["gpus"][0]["name"] == "Card"
        assert len(report["workflows"]) == 2
    else:
        assert completed.returncode == 75, completed.stderr
        assert b"Check skipped: " in completed.stdout
        assert report["checked_at"] == checked_at
        assert statuses(host) == {"a.json": "READY"}
        top = host.layout.status_markdown.read_text("utf-8").partition("<details>")[0]
        assert "**The last check was skipped**: " in top


def asleep_until(host: Host, seconds_ago: float) -> None:
    clock = host.clock
    mark = SleepMark(
        boot_id=clock.boot_id(),
        slept_seconds=clock.boottime() - clock.monotonic(),
        seen_monotonic=clock.monotonic(),
        resumed_monotonic=clock.monotonic() - seconds_ago,
    )
    host.layout.awake.parent.mkdir(exist_ok=True)
    host.layout.awake.write_bytes(msgspec.json.encode(mark))


def test_cycles_wait_for_the_resume_grace(host: Host) -> None:
    asleep_until(host, 30)
    result = host.cycle(pass_seconds=60)
    assert result.record.skipped_reason == "just-resumed"
    assert "90 seconds ago" in (result.record.message or "")
    assert host.report()["checked_at"] is None
    assert host.cycle(pass_seconds=60).record.success


def test_skip_before_the_first_cycle_reports_no_verdicts(host: Host) -> None:
    asleep_until(host, 0)
    host.cycle(pass_seconds=1)
    report = host.report()
    assert report["workflows"] == []
    text = host.layout.status_markdown.read_text("utf-8")
    assert text.startswith("# No check has run yet")
    assert "Run `comfywatchman --run-cycle`." in text


def test_skip_keeps_earlier_problems_and_sets_damaged_report_aside(host: Host) -> None:
    host.roots = (WatchedRoot(host.folder / "absent", "disk"),)
    problems = host.status().problems
    assert "workflow root cannot be read" in problems[0]
    asleep_until(host, 0)
    assert host.status(pass_seconds=1).problems == problems
    host.layout.status_json.write_bytes(b'{"torn')
    status = host.status(pass_seconds=1)
    assert status.checked_at is None
    assert any("master_status.json was damaged" in problem for problem in status.problems)
    assert host.layout.status_json.with_name("master_status.json.damaged-1").read_bytes() == b'{"torn'


@pytest.mark.slow
def test_running_cycle_skips_the_next_one_and_both_are_recorded(host: Host) -> None:
    with hold_lock(host.layout.cycle_lock, command="another cycle", clock=host.clock):
        result = host.cycle()
        completed = host.program("--run-cycle")
    assert result.status is None
    assert result.record.skipped_reason == "cycle-running"
    assert "another cycle" in (result.record.message or "")
    assert completed.returncode == 75
    assert [record.skipped_reason for record in host.history()] == ["cycle-running"] * 2
    assert not host.layout.status_json.exists()


def test_workflows_of_an_unmounted_root_are_uncertain(host: Host) -> None:
    root = host.folder / "disk"
    host.roots = (WatchedRoot(root, "disk"),)
    root.mkdir()
    (root / "a.json").write_bytes(graph())
    assert host.status().summary.ready == 1
    root.rename(host.folder / "unmounted")
    status = host.status()
    (entry,) = status.workflows
    assert (entry.status, entry.problems[0].code) == ("UNCERTAIN", "folder-out-of-reach")
    assert f"{root} could not be looked at. Mount its disk" in entry.problems[0].message
    assert (list_troubles(status)[0].kind, list_troubles(status)[0].subject) == (TroubleKind.UNREACHABLE, str(root))
    assert any("workflow root cannot be read" in problem for problem in status.problems)
    (host.folder / "unmounted").rename(root)
    result = host.cycle()
    assert result.record.read == 0
    assert statuses(host) == {"a.json": "READY"}
    assert len(host.intake()) == 1


def test_installation_without_custom_nodes_and_models_is_supported(host: Host) -> None:
    (host.comfyui / "custom_nodes").rmdir()
    os.unlink(host.comfyui / "models" / "checkpoints" / CHECKPOINT)
    os.rmdir(host.comfyui / "models" / "checkpoints")
    os.rmdir(host.comfyui / "models")
    host.write("a.json")
    entry = host.entry("a.json")
    assert (entry.status, [model.name for model in entry.missing_models]) == ("MISSING", [CHECKPOINT])
    assert json.loads(host.layout.pack_cache.read_bytes())["schema_version"] == 1


def test_workflow_above_the_size_limit_is_not_parsed(host: Host) -> None:
    host.set(workflows__max_file_mb=1)
    host.write("large.json", b" " * (1 << 20) + graph())
    entry = host.entry("large.json")
    assert (entry.status, entry.problems[0].code) == ("INVALID", "file-too-large")
    assert host.cycle().record.read == 0


DAMAGES = {
    "torn": b'{"schema_version": 1, "wor',
    "empty": b"",
    "binary": b"\xff\x00\xfe" * 50,
    "another shape": b"[1, 2]",
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["workflows.json", "awake.json", "index.sqlite"])
@pytest.mark.slow
def test_a_damaged_state_file_is_set_aside_and_reported(host: Host, name: str, kind: str) -> None:
    host.write("a.json")
    host.write("b.json", lora="absent.safetensors")
    host.cycle()
    for extra in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(host.home / "state" / f"{name}{extra}")
    content = DAMAGES[kind]
    (host.home / "state" / name).write_bytes(content)
    result = host.cycle()
    assert result.record.success
    assert statuses(host) == {"a.json": "READY", "b.json": "MISSING"}
    assert len(host.intake()) == 2, "nothing is acknowledged twice"
    if (name, kind) == ("index.sqlite", "empty"):
        return  # an empty file is an empty database
    assert (host.home / "state" / f"{name}.damaged-1").read_bytes() == content
    assert any(name in problem for problem in host.report()["problems"])
    assert host.cycle().record.errors == 0, "and the next cycle has nothing to complain of"


@pytest.mark.parametrize("kind", ["torn", "binary"])
@pytest.mark.parametrize("name", ["model_cache.json", "custom_nodes_cache.json", "history.jsonl", "cycle.lock"])
@pytest.mark.slow
def test_damaged_output_file_is_rewritten(host: Host, name: str, kind: str) -> None:
    host.write("a.json")
    host.cycle()
    path = host.home / "state" / name
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[kind])
    result = host.cycle()
    assert result.record.success
    if name.endswith("cache.json"):
        assert path.read_bytes() == whole
    assert host.history()[-1] == result.record


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_intake_log_is_continued(host: Host, kind: str) -> None:
    host.write("a.json")
    host.cycle()
    host.layout.intake_log.write_bytes(DAMAGES[kind])
    host.write("b.json")
    result = host.cycle()
    assert result.record.success
    assert [Path(entry.path).name for entry in host.intake()] == ["b.json"]
    assert len(statuses(host)) == 2


def test_folder_in_the_place_of_a_state_file_is_set_aside(host: Host) -> None:
    host.write("a.json")
    (host.layout.known_workflows / "sub").mkdir(parents=True)
    result = host.cycle()
    assert result.record.success
    assert host.layout.known_workflows.is_file()
    assert any("workflows.json.damaged-1" in problem for problem in host.report()["problems"])


@pytest.mark.slow
def test_database_damaged_during_a_cycle_is_rebuilt(host: Host) -> None:
    for n in range(50):
        host.write(f"{n}.json", lora=f"absent{n}.safetensors")
    host.cycle()
    path = host.layout.database
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    result = host.cycle()
    assert result.record.success
    assert (result.record.missing, result.record.errors > 0) == (50, True)
    assert host.cycle().record.errors == 0


@pytest.mark.parametrize("away", ["missing", "a link to nowhere"])
@pytest.mark.slow
def test_workflows_of_an_unavailable_user_folder_are_uncertain(host: Host, away: str) -> None:
    host.write("a.json")
    assert host.status().summary.ready == 1
    users = host.comfyui / "user"
    users.rename(host.folder / "unplugged")
    if away != "missing":
        users.symlink_to(host.folder / "gone")
    entry = host.entry("a.json")
    assert (entry.status, entry.problems[0].code) == ("UNCERTAIN", "folder-out-of-reach")
    if users.is_symlink():
        users.unlink()
    (host.folder / "unplugged").rename(users)
    assert host.status().summary.ready == 1
    assert [entry.kind for entry in host.intake()] == ["new"]


def test_workflows_of_a_deleted_user_are_removed(host: Host) -> None:
    host.write("a.json")
    host.cycle()
    shutil.rmtree(host.comfyui / "user" / "default")
    assert host.status().workflows == ()
    assert [entry.kind for entry in host.intake()] == ["new", "removed"]


@needs_a_user
def test_unwritable_state_is_a_failure(host: Host) -> None:
    (host.home / "state").mkdir()
    (host.home / "state").chmod(0o500)
    try:
        with pytest.raises(Failure) as raised:
            host.cycle()
    finally:
        (host.home / "state").chmod(0o700)
    assert raised.value.code == "state-unwritable"


def test_home_that_is_a_file_is_a_failure(host: Host) -> None:
    (host.home / "state").write_bytes(b"")
    with pytest.raises(Failure) as raised:
        host.cycle()
    assert raised.value.code == "state-unwritable"
    assert raised.value.hint


def breaking(host: Host, error: BaseException, phase: str = "verdicts") -> CycleRequest:
    def progress(name: str) -> None:
        if name == phase:
            raise error

    return host.request(progress=progress)


def test_unexpected_error_is_recorded_and_keeps_the_old_report(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.write("a.json")
    host.cycle()
    report = host.report()
    with pytest.raises(ZeroDivisionError):
        run_cycle(breaking(host, ZeroDivisionError("by nobody")))
    assert host.report() == report
    assert (host.history()[-1].success, host.history()[-1].message) == (False, "ZeroDivisionError: by nobody")
    assert "Traceback" in caplog.text
    assert host.cycle().record.success


def test_os_error_becomes_a_failure(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Failure, match="No space left on device") as raised:
        run_cycle(breaking(host, OSError(28, "No space left on device")))
    assert raised.value.code == "state-unwritable"
    assert host.history()[-1].message == raised.value.message
    assert "Traceback" in caplog.text


def test_failure_that_cannot_be_recorded_is_still_raised(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.layout.history.mkdir(parents=True)
    with pytest.raises(ZeroDivisionError):
        run_cycle(breaking(host, ZeroDivisionError("by nobody")))
    assert "history not written" in caplog.text


def test_unhashable_model_is_a_problem_in_the_report(host: Host) -> None:
    path = host.model("loras/a.safetensors")
    result = host.cycle(progress=lambda phase: path.unlink() if phase == "hashing" else None)
    assert (result.record.hashed, result.record.errors) == (1, 1)
    assert host.report()["problems"] == [
        f"A model could not be hashed: {path}: cannot be opened: No such file or directory"
    ]
    assert host.report_after_cycle()["problems"] == []


def test_several_unhashable_models_are_counted_and_one_is_named(host: Host) -> None:
    paths = [host.model(f"loras/{name}.safetensors") for name in ("a", "b")]

    def lose(phase: str) -> None:
        for path in paths if phase == "hashing" else ():
            path.unlink()

    (problem,) = host.status(progress=lose).problems
    assert problem.startswith("2 models could not be hashed: ")
    assert problem.endswith("No such file or directory; …")


@pytest.mark.slow
def test_hashes_are_computed_within_the_budget(host: Host) -> None:
    assert host.cycle().record.hashed == 1
    host.cycle()
    (model,) = json.loads(host.layout.model_cache.read_bytes())["folders"]["checkpoints"]
    assert len(model["sha256"]) == 64
    host.model("loras/new.safetensors")
    host.set(models__hash_budget_seconds=0)
    result = host.cycle()
    assert (result.record.hashed, "hashing" in result.record.phases) == (0, False)


def test_files_left_by_killed_writers_are_removed(host: Host) -> None:
    left = host.home / "state" / ".workflows.json.abc.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    host.cycle()
    assert not left.exists()


def test_model_folder_outside_models_is_named_as_the_target(host: Host) -> None:
    extra = host.folder / "disk"
    put(extra / "readme.txt")
    (host.comfyui / "extra_model_paths.yaml").write_text(f"x:\n  base_path: {extra}\n  is_default: true\n  loras: l\n")
    host.write("a.json", lora="absent.safetensors")
    (model,) = host.entry("a.json").missing_models
    assert str(extra / "l") in (model.fix or "")


def test_disabled_pack_provides_no_nodes(host: Host) -> None:
    folder = host.pack("MyNode")
    folder.rename(folder.with_name("pack-MyNode.disabled"))
    host.write("a.json", last="MyNode")
    assert host.entry("a.json").status == "MISSING"


def test_duplicate_contents_are_judged_alike(host: Host) -> None:
    host.write("a.json", lora="absent.safetensors")
    host.write("sub/b.json", lora="absent.safetensors")
    host.cycle()
    assert statuses(host) == {"a.json": "MISSING", "b.json": "MISSING"}
    assert host.report()["summary"]["missing_models"] == 1


def test_broken_model_counts_as_missing(host: Host) -> None:
    host.write("a.json")
    host.model(f"checkpoints/{CHECKPOINT}", safetensors()[:-5])
    (model,) = host.entry("a.json").missing_models
    assert model.status == "present_but_invalid"
    assert "broken" in (model.fix or "")


def disk_full(host: Host, point: str) -> tuple[int, bytes]:
    completed = host.program("--run-cycle", COMFYWATCHMAN_FAILPOINTS=f"{point}=raise:ENOSPC")
    return completed.returncode, completed.stderr


@pytest.mark.parametrize(
    "point",
    [
        "files.before_rename",
        slow("files.before_rename#3"),
        slow("files.after_rename"),
        "files.after_append",
        slow("cycle.after_gates"),
        slow("cycle.after_nodes"),
        slow("cycle.after_inventory"),
        slow("cycle.after_intake"),
        slow("cycle.after_workflows"),
        "cycle.after_report",
        slow("cycle.after_history"),
    ],
)
@pytest.mark.slow
def test_full_disk_is_a_failure_and_leaves_whole_files(host: Host, point: str) -> None:
    host.write("a.json")
    host.cycle()
    before = host.report()
    host.write("b.json", lora="absent.safetensors")
    code, errors = disk_full(host, point)
    assert b"Traceback" not in errors
    assert code == 1
    assert b"No space left on device" in errors
    assert before["workflows"] == host.report()["workflows"][:1]
    host.set(models__hash_budget_seconds=0)
    assert host.cycle().record.success
    assert statuses(host) == {"a.json": "READY", "b.json": "MISSING"}
    assert [Path(entry.path).name for entry in host.intake()] == ["a.json", "b.json"]


@pytest.mark.parametrize("point", ["index.before_commit", "index.after_commit"])
@pytest.mark.slow
def test_full_disk_under_the_database_is_only_a_problem(host: Host, point: str) -> None:
    host.write("a.json")
    host.cycle()
    host.write("b.json", lora="absent.safetensors")
    code, errors = disk_full(host, point)
    assert code == 0, errors
    assert len(statuses(host)) == 2
    assert any("No space left" in problem for problem in host.report()["problems"])
