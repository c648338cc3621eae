from __future__ import annotations

import msgspec
import pytest

from comfywatchman.governance.store.records import Finding
from comfywatchman.governance.trial.outcome import CUSTOM_NODES_PREFIX, NOT_STARTED, TIMED_OUT, StartOutcome
from comfywatchman.governance.trial.verdict import build_judgement, pack_name

WHOLE = StartOutcome(
    how="server",
    exit_code=0,
    packs={"Own": "custom_nodes.mine"},
    failures={"other": "No module named 'cv2'"},
    imported=frozenset({"mine", "third"}),
    probe=Finding(name="prompt", status="ok", detail="It ran."),
    model_folders={"Own": {"name": "loras,vae"}},
    widget_places={"Own": {"name": 1}},
    model_directories={"odd": ("deep/odd",)},
    unasked="--base-directory",
)


def test_stored_baseline_is_read_back_equal() -> None:
    stored = msgspec.json.encode(WHOLE, order="sorted")
    assert msgspec.json.decode(stored, type=StartOutcome) == WHOLE


def test_baseline_of_an_older_version_lacks_facts_and_is_read() -> None:
    old = msgspec.json.decode(b'{"how":"server","exit_code":0,"packs":{"Own":"nodes"}}', type=StartOutcome)
    assert old == StartOutcome(how="server", exit_code=0, packs={"Own": "nodes"})
    assert (old.failures, old.imported, old.probe, old.unasked) == ({}, frozenset(), None, None)


@pytest.mark.parametrize("stored", [b'{"how":"other","exit_code":0}', b'{"how":"exit"}', b'{"exit_code":0}'])
def test_damaged_baseline_is_not_read(stored: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(stored, type=StartOutcome)


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        (StartOutcome(how="none", exit_code=NOT_STARTED, trouble="main.py is missing"), 2),
        (StartOutcome(how="none", exit_code=TIMED_OUT, trouble="It hung"), 124),
        (StartOutcome(how="exit", exit_code=-11), -11),
        (StartOutcome(how="server", exit_code=0, trouble="It could not be queried"), 1),
    ],
    ids=["not started", "timed out", "signal", "not queried"],
)
def test_exit_code_of_a_start_is_that_of_its_judgement(outcome: StartOutcome, exit_code: int) -> None:
    assert build_judgement("mine", outcome, None).exit_code == exit_code


def test_module_without_the_prefix_belongs_to_comfyui() -> None:
    assert pack_name(f"{CUSTOM_NODES_PREFIX}a.b") == "a.b"
    assert {pack_name(module) for module in ("nodes", "custom_nodes", "my.custom_nodes.a", "")} == {"ComfyUI"}
