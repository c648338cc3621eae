from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.pages.workflow_rows import WorkflowRow, build_rows, build_workflow_id, select_rows
from comfywatchman.readiness.states import WorkflowStatus
from tests.hosts import Host


def make_row(name: str, status: WorkflowStatus, text: str = "") -> WorkflowRow:
    return WorkflowRow(build_workflow_id(name), name, "", status, (), 0, 0, f"{name} {text}".lower())


ROWS = (
    make_row("broken", WorkflowStatus.INVALID),
    make_row("Flux", WorkflowStatus.MISSING, "t5xxl.safetensors"),
    make_row("flux fill", WorkflowStatus.READY),
)


@pytest.mark.parametrize(
    ("status", "text", "names"),
    [
        ("", "", ["broken", "Flux", "flux fill"]),
        ("ready", "", ["flux fill"]),
        ("nonsense", "", ["broken", "Flux", "flux fill"]),
        ("", "FLUX", ["Flux", "flux fill"]),
        ("", "fill flux", ["flux fill"]),
        ("missing", "t5", ["Flux"]),
        ("invalid", "t5", []),
    ],
)
def test_rows_match_verdict_and_all_words(status: str, text: str, names: list[str]) -> None:
    assert [row.name for row in select_rows(ROWS, status=status, text=text, page=1).rows] == names


def test_broken_files_come_first_then_what_lacks_least(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("a.json")
    host.write("sub/b.json", checkpoint="x.safetensors", lora="y.safetensors")
    host.write("c.json", checkpoint="x.safetensors")
    host.write("d.json", b"{")
    rows = build_rows(host.status())
    assert [(row.folder, row.name, row.status.value) for row in rows] == [
        ("", "d", "INVALID"),
        ("", "c", "MISSING"),
        ("sub", "b", "MISSING"),
        ("", "a", "READY"),
    ]
    assert rows[2].lacks == ("x.safetensors", "y.safetensors")


def test_id_fits_into_urls_whatever_the_path() -> None:
    assert build_workflow_id("/a/\udc80<b>.json").isalnum()
    assert build_workflow_id("/a") != build_workflow_id("/b")
