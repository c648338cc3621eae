"""The known workflows of each ComfyUI in one state file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import orjson
import pytest

from comfywatchman.readiness.workflows.intake_log import Acknowledgement, append_entries
from comfywatchman.readiness.workflows.known_workflows import (
    KnownWorkflow,
    load_known_workflows,
    save_known_workflows,
)

KNOWN = KnownWorkflow("0" * 64, "new", "mine", "2026-11-20T14:00:00Z", last_resolved_at="T", was_missing=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "workflows.json"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "intake_log.jsonl"


def load(state: Path, log: Path, comfyui: str, *, watched: str = "/w/") -> dict[str, KnownWorkflow]:
    known, damaged = load_known_workflows(state, log, comfyui=comfyui, is_watched=lambda path: path.startswith(watched))
    assert damaged == ()
    return known


def write_old_version(state: Path, **workflows: KnownWorkflow) -> None:
    """Write the state as versions without ComfyUIs did."""
    entries = {path: msgspec.to_builtins(workflow) for path, workflow in workflows.items()}
    state.write_bytes(
        orjson.dumps({"schema_version": 1, "hash_of": "file", "intake_log_bytes": 0, "workflows": entries})
    )


def test_each_comfyui_keeps_its_workflows(state: Path, log: Path) -> None:
    save_known_workflows(state, log, {"/w/a.json": KNOWN}, comfyui="a")
    save_known_workflows(state, log, {"/w/b.json": KNOWN}, comfyui="b")
    assert load(state, log, "a") == {"/w/a.json": KNOWN}
    assert load(state, log, "b") == {"/w/b.json": KNOWN}
    assert load(state, log, "c") == {}
    save_known_workflows(state, log, {}, comfyui="a")
    assert (load(state, log, "a"), load(state, log, "b")) == ({}, {"/w/b.json": KNOWN})


def test_log_lines_of_another_comfyui_are_not_applied(state: Path, log: Path) -> None:
    for comfyui in ("a", "b"):
        path = f"/w/{comfyui}.json"
        append_entries(log, [Acknowledgement("T", "new", path, "mine", "0" * 64, "c", comfyui=comfyui)])
    assert list(load(state, log, "a")) == ["/w/a.json"]
    assert list(load(state, log, "b", watched="/elsewhere/")) == ["/w/b.json"]


def test_log_lines_of_older_versions_belong_to_who_watches_them(state: Path, log: Path) -> None:
    append_entries(log, [Acknowledgement("T", "new", "/w/a.json", "mine", "0" * 64, "c")])
    assert list(load(state, log, "a")) == ["/w/a.json"]
    assert load(state, log, "b", watched="/elsewhere/") == {}


def test_state_of_an_older_version_is_kept_without_its_verdicts(state: Path, log: Path) -> None:
    write_old_version(state, **{"/w/a.json": KNOWN, "/elsewhere/b.json": KNOWN})
    (workflow,) = load(state, log, "a").values()
    assert (workflow.sha256, workflow.was_missing, workflow.last_resolved_at) == ("0" * 64, None, None)
    save_known_workflows(state, log, {"/w/a.json": workflow}, comfyui="a")
    assert load(state, log, "b") == {}


def test_only_the_newest_other_comfyuis_are_kept(state: Path, log: Path) -> None:
    for number in range(11):
        at = f"2026-11-20T14:00:{number:02}Z"
        known = {"/w/a.json": KnownWorkflow("0" * 64, "new", "mine", at)}
        save_known_workflows(state, log, known, comfyui=f"c{number:02}")
    assert sorted(orjson.loads(state.read_bytes())["others"]) == [f"c{number:02}" for number in range(2, 10)]


def test_damaged_state_loses_the_others_only(state: Path, log: Path) -> None:
    state.write_bytes(b"{")
    save_known_workflows(state, log, {"/w/a.json": KNOWN}, comfyui="a")
    assert load(state, log, "a") == {"/w/a.json": KNOWN}
