from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import orjson
import pytest

from comfywatchman.base.config import Home
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.report.write import (
    ForeignReport,
    json_schema,
    read_own_report,
    read_report,
    summarise,
    to_json,
    write_report,
)
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import (
    MasterStatus,
)
from tests.readiness.report.sample_reports import EVERY, HOSTILE, entry, mixed, never


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.slow
def test_json_is_valid_sorted_and_read_back_equal(name: str) -> None:
    content = to_json(EVERY[name])
    parsed = json.loads(content)
    schema = orjson.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(parsed)
    assert content == orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"
    if name != "hostile":
        assert msgspec.json.decode(content, type=MasterStatus) == EVERY[name]


def test_lone_surrogates_are_escaped_in_the_json() -> None:
    parsed = json.loads(to_json(mixed("half\ud800")))
    assert parsed["workflows"][1]["missing_models"][0]["name"] == "half\\ud8000"


def test_schema_rejects_an_invalid_report() -> None:
    validator = jsonschema.Draft202012Validator(orjson.loads(json_schema()))
    parsed = json.loads(to_json(mixed()))
    for path, value in (("schema_version", 2), ("workflows", {}), ("checked_at", 3), ("environment", "x")):
        assert not validator.is_valid({**parsed, path: value})
    assert not validator.is_valid({key: value for key, value in parsed.items() if key != "summary"})


@pytest.mark.slow
def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    assert read_report(layout) is None
    write_report(layout, mixed())
    assert read_report(layout) == mixed()
    assert layout.status_markdown.read_text("utf-8") == render_markdown(mixed())
    layout.status_json.write_bytes(b"{")
    assert isinstance(read_report(layout), CorruptFile)


def test_report_with_hostile_names_is_written(tmp_path: Path) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    write_report(layout, mixed(HOSTILE))
    assert isinstance(read_report(layout), MasterStatus)


@pytest.mark.parametrize("failpoint", ["files.before_rename", "files.after_rename", "cycle.after_report"])
@pytest.mark.slow
def test_kill_while_writing_leaves_whole_files(tmp_path: Path, failpoint: str) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    write_report(layout, never())
    code = """
import sys
from pathlib import Path
from comfywatchman.base.config import Home
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.write import write_report
from tests.readiness.report.sample_reports import mixed
write_report(ReadinessLayout(Home(Path(sys.argv[1]))), mixed())
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "COMFYWATCHMAN_FAILPOINTS": f"{failpoint}=kill"},
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert killed.returncode == -9
    assert read_report(layout) == (never() if failpoint == "files.before_rename" else mixed())
    is_new = layout.status_markdown.read_text("utf-8") == render_markdown(mixed())
    assert is_new or layout.status_markdown.read_text("utf-8") == render_markdown(never())
    assert is_new == (failpoint == "cycle.after_report")


def test_summary_counts_distinct_findings() -> None:
    one = summarise(
        [entry("/a", WorkflowStatus.MISSING, models=2, nodes=1), entry("/b", WorkflowStatus.MISSING, models=1, nodes=2)]
    )
    assert (one.workflows, one.missing, one.missing_models, one.missing_nodes) == (2, 2, 2, 2)
    assert summarise([]).workflows == 0


def test_only_the_report_of_the_watched_comfyui_is_its_own(tmp_path: Path) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    watched = ComfyUIIdentity("a", "/a", "/a", "host")
    assert read_own_report(layout, watched) is None
    for comfyui in (watched, ComfyUIIdentity("b", "/a", "/a", "host"), None):
        report = msgspec.structs.replace(mixed(), comfyui=comfyui)
        write_report(layout, report)
        expected = report if comfyui is watched else ForeignReport(comfyui, report.generated_at)
        assert read_own_report(layout, watched) == expected
        assert read_own_report(layout, None) == ForeignReport(comfyui, report.generated_at)
    layout.status_json.write_bytes(b"{")
    assert isinstance(read_own_report(layout, watched, only_look=True), CorruptFile)


def test_commands_of_the_markdown_get_their_options(tmp_path: Path) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    write_report(layout, mixed(), complete_commands=lambda text: text.replace("comfywatchman ", "comfywatchman -X "))
    text = layout.status_markdown.read_text("utf-8")
    assert "comfywatchman -X " in text
    assert read_report(layout) == mixed()
