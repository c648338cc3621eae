from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from comfywatchman.base.errors import Failure
from comfywatchman.versions.references import (
    MadeOutput,
    OutputRecords,
    OutputState,
    check_outputs,
    read_records,
    record_outputs,
)
from comfywatchman.versions.staging import hold_folder

SHA = "a" * 64


class Renderer:
    """Makes the same files for every workflow."""

    def __init__(self, **files: tuple[str, object]) -> None:
        self.files = files

    def __call__(self, workflow: Path, folder: Path) -> Sequence[MadeOutput]:
        assert json.loads(workflow.read_bytes())
        made = []
        for name, (node_id, content) in self.files.items():
            path = folder / name
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                Image.new("RGB", (2, 2), content).save(path, "PNG")  # type: ignore[arg-type]
            made.append(MadeOutput(node_id, path))
        return made


RED = ("9", (200, 0, 0))


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.json"
    path.write_text('{"1": {"class_type": "SaveImage", "inputs": {}}}')
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lockfiles" / "comfy-first.outputs"


def record(folder: Path, workflow: Path, renderer: Renderer) -> OutputRecords:
    return record_outputs("first", SHA, [workflow], folder, renderer)


def check(folder: Path, work: Path, renderer: Renderer, tolerance: float = 0) -> dict[tuple[str, int], OutputState]:
    comparisons = check_outputs(read_records(folder), folder, work, renderer, tolerance=tolerance)
    return {(one.node_id, one.number): one.state for one in comparisons}


def test_same_outputs_are_the_same(folder: Path, workflow: Path, tmp_path: Path) -> None:
    renderer = Renderer(a=RED, b=("9", (0, 0, 0)), c=("12", b"sound"))
    records = record(folder, workflow, renderer)
    assert [(one.node_id, one.number, one.shape) for one in records.outputs] == [
        ("12", 1, ""),
        ("9", 1, "RGB 2x2"),
        ("9", 2, "RGB 2x2"),
    ]
    assert set(check(folder, tmp_path / "new", renderer).values()) == {OutputState.SAME}


def test_changed_missing_and_extra_outputs_are_told_apart(folder: Path, workflow: Path, tmp_path: Path) -> None:
    record(folder, workflow, Renderer(a=RED, b=("9", (0, 0, 0)), c=("12", b"sound"), d=("13", b"x")))
    later = Renderer(a=("9", (201, 0, 0)), b=("9", (0, 0, 0)), c=("12", b"noise"), e=("14", b"x"))
    assert check(folder, tmp_path / "new", later) == {
        ("9", 1): OutputState.DIFFERENT,
        ("9", 2): OutputState.SAME,
        ("12", 1): OutputState.DIFFERENT,
        ("13", 1): OutputState.MISSING,
        ("14", 1): OutputState.EXTRA,
    }


@pytest.mark.parametrize(
    ("tolerance", "state"), [(0.0, OutputState.DIFFERENT), (0.33, OutputState.DIFFERENT), (0.34, OutputState.CLOSE)]
)
def test_tolerance_is_a_mean_over_all_channels(
    folder: Path, workflow: Path, tmp_path: Path, tolerance: float, state: OutputState
) -> None:
    record(folder, workflow, Renderer(a=RED))
    later = Renderer(a=("9", (201, 0, 0)))
    assert check(folder, tmp_path / "new", later, tolerance) == {("9", 1): state}


def test_records_are_the_same_each_time_and_replaced_as_a_whole(folder: Path, workflow: Path) -> None:
    record(folder, workflow, Renderer(a=RED, old=("2", b"x")))
    first = record(folder, workflow, Renderer(a=RED))
    content = (folder / "outputs.json").read_bytes()
    assert record(folder, workflow, Renderer(a=RED)) == first
    assert (folder / "outputs.json").read_bytes() == content
    assert sorted(path.name for path in (folder / "flow.json").iterdir()) == ["a", "workflow.json"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_failed_run_keeps_the_earlier_records(folder: Path, workflow: Path) -> None:
    first = record(folder, workflow, Renderer(a=RED))
    with pytest.raises(Failure, match="made no file"):
        record(folder, workflow, Renderer())
    assert read_records(folder) == first


def kill_between_the_renames(folder: Path, workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the state on disk of a process that was killed when the new references were about to get their name."""
    rename = os.rename

    def rename_or_die(source: Path, target: Path) -> None:
        if target == folder:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename_or_die)
        with pytest.raises(KeyboardInterrupt):
            record(folder, workflow, Renderer(a=("9", (0, 0, 0))))


def test_references_survive_a_kill_between_the_renames(
    folder: Path, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record(folder, workflow, Renderer(a=RED))
    kill_between_the_renames(folder, workflow, monkeypatch)
    assert read_records(folder) == first
    kill_between_the_renames(folder, workflow, monkeypatch)
    assert record(folder, workflow, Renderer(a=RED)) == first
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_failed_run_after_a_kill_keeps_the_references(
    folder: Path, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record(folder, workflow, Renderer(a=RED))
    kill_between_the_renames(folder, workflow, monkeypatch)
    with pytest.raises(Failure, match="made no file"):
        record(folder, workflow, Renderer())
    assert read_records(folder) == first


def test_second_recorder_is_refused(folder: Path, workflow: Path) -> None:
    with hold_folder(folder.with_name(f"{folder.name}.partial")), pytest.raises(Failure) as caught:
        record(folder, workflow, Renderer(a=RED))
    assert caught.value.code == "version-clone-running"


def test_outputs_are_flushed_before_the_rename(folder: Path, workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []

    def flush(path: Path) -> None:
        assert not folder.exists()
        flushed.append(path.name)

    monkeypatch.setattr("comfywatchman.versions.references.fsync_file", flush)
    record(folder, workflow, Renderer(a=RED, b=RED))
    assert {"a", "b"} <= set(flushed)


def test_workflows_with_equal_names_are_refused(folder: Path, workflow: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / workflow.name
    other.parent.mkdir()
    other.write_bytes(workflow.read_bytes())
    with pytest.raises(Failure, match="same file name") as caught:
        record_outputs("first", SHA, [workflow, other], folder, Renderer(a=RED))
    assert caught.value.code == "version-bad-references"
    assert not folder.parent.exists()


def test_missing_and_damaged_records_are_refused(folder: Path, workflow: Path) -> None:
    with pytest.raises(Failure, match="no reference outputs"):
        read_records(folder)
    records = record(folder, workflow, Renderer(a=RED))
    path = folder / "outputs.json"
    outside = msgspec.structs.replace(records.outputs[0], file="../../etc/passwd")
    for content in (
        b"{",
        msgspec.json.encode(msgspec.structs.replace(records, schema="other")),
        msgspec.json.encode(msgspec.structs.replace(records, outputs=(outside,))),
    ):
        path.write_bytes(content)
        with pytest.raises(Failure) as caught:
            read_records(folder)
        assert caught.value.code == "version-bad-references"
