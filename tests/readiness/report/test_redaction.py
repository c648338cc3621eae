"""Reports without the names of a person's own files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.report.redaction import redact_inputs
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MissingInput, RefusedInput, WorkflowEntry
from tests.hosts import Host

NAME = "anna at the beach.png"


def build_entry(*names: str) -> WorkflowEntry:
    missing = [
        MissingInput(name, "input", "picture", "LoadImage", str(number), "image", f"Put {name} there.", required=False)
        for number, name in enumerate(names)
    ]
    return WorkflowEntry(
        path="/w.json",
        source="w",
        format="ui-1",
        container="json",
        sha256="0" * 64,
        status=WorkflowStatus.READY,
        models=0,
        missing_models=(),
        missing_nodes=(),
        inactive_models=(),
        uncertain_count=0,
        problems=(),
        last_resolved_at=None,
        intake=None,
        missing_inputs=tuple(missing),
    )


def test_same_file_has_the_same_number_everywhere() -> None:
    first, second = redact_inputs([build_entry(NAME, "other.png"), build_entry("other.png")])
    assert [missing.name for missing in first.missing_inputs] == ["picture 1", "picture 2"]
    assert [missing.name for missing in second.missing_inputs] == ["picture 2"]


def test_name_is_left_out_of_every_field() -> None:
    (missing,) = build_entry(NAME).missing_inputs
    obstacle = Obstacle(ObstacleKind.UNREADABLE, f"/input/{NAME}", f"cannot read {NAME}")
    refused = RefusedInput(
        "image", NAME, "LoadImage", "1", RejectionReason.NOT_OFFERED, f"Choose another than {NAME}.", NAME
    )
    entry = msgspec.structs.replace(
        build_entry(NAME),
        missing_inputs=(msgspec.structs.replace(missing, obstacle=obstacle),),
        refused_inputs=(refused,),
    )
    (redacted,) = redact_inputs([entry])
    assert NAME not in msgspec.json.encode(redacted).decode()
    assert redacted.status is entry.status


def test_entry_without_input_files_stays_as_it_is() -> None:
    entry = build_entry()
    assert redact_inputs([entry]) == (entry,)


def test_report_counts_files_whose_names_it_hides(tmp_path: Path) -> None:
    host = Host(tmp_path, REPORT__REDACT_INPUTS=True)
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": NAME}}}
    host.write("mine.json", json.dumps(prompt).encode())
    host.cycle()
    assert host.report()["summary"]["missing_inputs"] == 1
    for path in (host.layout.status_json, host.layout.status_markdown):
        text = path.read_text()
        assert NAME not in text
        assert "picture 1" in text
