"""The master status: valid against its own schema, read back equal, and safe to look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from comfywatchman.base.config import Home
from comfywatchman.base.files import CorruptFile
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.render import headline, render_markdown, render_markdown_cached, shorten_paths
from comfywatchman.readiness.report.write import json_schema, read_report, summarise, to_json, write_report
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    CycleSummary,
    Environment,
    EnvironmentCheck,
    FileProblem,
    GpuSummary,
    HostSummary,
    InactiveModel,
    LastAcknowledgement,
    MasterStatus,
    MissingModel,
    MissingNode,
    ModelCandidate,
    ProviderPackage,
    RecentAcknowledgement,
    WorkflowEntry,
)

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
TIME = "2026-11-20T14:00:00Z"
HOSTILE = "<img src=x onerror=alert(1)>|`[a](https://evil.example)\n# b\x1b[2J\u202e\udcff *c*\\"


def entry(
    path: str,
    status: WorkflowStatus = WorkflowStatus.READY,
    *,
    text: str = "words",
    models: int = 0,
    nodes: int = 0,
    problems: int = 0,
) -> WorkflowEntry:
    candidate = ModelCandidate(source=text, url=f"https://x.example/{text}", name=text, reason=text)
    return WorkflowEntry(
        path=path,
        source=text,
        format="ui-1",
        container="json",
        sha256="0" * 64,
        status=status,
        models=models,
        missing_models=tuple(
            MissingModel(
                f"{text}{n}", text, text, text, text, ModelState.WRONG_FOLDER, text, text, "high", (candidate,)
            )
            for n in range(models)
        ),
        missing_nodes=tuple(
            MissingNode(f"{text}{n}", text, (text,), (ProviderPackage(text, text), ProviderPackage(text)), text, text)
            for n in range(nodes)
        ),
        inactive_models=(InactiveModel(text, None, text, ModelState.MISSING),),
        uncertain_count=0,
        problems=tuple(FileProblem(text, text, text) for _ in range(problems)),
        last_resolved_at=TIME,
        intake=LastAcknowledgement("new", text, TIME),
    )


def status(*entries: WorkflowEntry, text: str = "words", **changes: Any) -> MasterStatus:
    facts: dict[str, Any] = {
        "generated_at": TIME,
        "checked_at": TIME,
        "valid_until": TIME,
        "cycle": CycleSummary("c1", "manual", TIME, 0.25, success=True, skipped_reason=None),
        "host": HostSummary((), "none", text, text, comfyui_running=False, sample=False),
        "summary": summarise(entries),
        "workflows": entries,
        "intake": (
            RecentAcknowledgement(TIME, "renamed", text, text, text),
            RecentAcknowledgement(TIME, "new", text, text, None),
        ),
        "environment": NOT_GOVERNED,
        "problems": (text,),
    }
    return MasterStatus(**{**facts, **changes})


def mixed(text: str = "words") -> MasterStatus:
    return status(
        entry("/w/ready.json", text=text),
        entry(f"/w/{text}.json", WorkflowStatus.MISSING, text=text, models=2, nodes=2),
        entry("/w/sub/uncertain.json", WorkflowStatus.UNCERTAIN, text=text, nodes=1),
        entry("/w/broken.json", WorkflowStatus.INVALID, text=text, problems=2),
        text=text,
        environment=Environment("fail", (EnvironmentCheck(text, "fail", text, text, (text,)),), text),
        host=HostSummary(
            (GpuSummary(0, text, 24 << 30, 20 << 30),), "ok", None, None, comfyui_running=True, sample=True
        ),
        cycle=CycleSummary("c", "cron", TIME, 0.1, success=False, skipped_reason="low-vram", message=text),
    )


def never() -> MasterStatus:
    return status(
        checked_at=None,
        intake=(),
        problems=(),
        host=HostSummary((), "unknown", None, None, comfyui_running=False, sample=False),
    )


EVERY = {
    "never checked": never(),
    "nothing found": status(intake=(), problems=()),
    "all ready": status(entry("/w/a.json"), entry("/w/b.json")),
    "mixed": mixed(),
    "hostile": mixed(HOSTILE),
}


@pytest.mark.parametrize("name", EVERY)
def test_the_json_is_valid_sorted_and_read_back_equal(name: str) -> None:
    content = to_json(EVERY[name])
    parsed = json.loads(content)
    schema = orjson.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(parsed)
    assert content == orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"
    if name != "hostile":
        assert msgspec.json.decode(content, type=MasterStatus) == EVERY[name]


def test_half_characters_of_a_workflow_are_escapes_in_the_json() -> None:
    parsed = json.loads(to_json(mixed("half\ud800")))
    assert parsed["workflows"][1]["missing_models"][0]["name"] == "half\\ud8000"


def test_the_schema_refuses_what_is_no_report() -> None:
    validator = jsonschema.Draft202012Validator(orjson.loads(json_schema()))
    parsed = json.loads(to_json(mixed()))
    for path, value in (("schema_version", 2), ("workflows", {}), ("checked_at", 3), ("environment", "x")):
        assert not validator.is_valid({**parsed, path: value})
    assert not validator.is_valid({key: value for key, value in parsed.items() if key != "summary"})


def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    assert read_report(layout) is None
    write_report(layout, mixed())
    assert read_report(layout) == mixed()
    assert layout.status_markdown.read_text("utf-8") == render_markdown(mixed())
    layout.status_json.write_bytes(b"{")
    assert isinstance(read_report(layout), CorruptFile)


def test_a_report_of_hostile_names_is_written(tmp_path: Path) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    write_report(layout, mixed(HOSTILE))
    assert isinstance(read_report(layout), MasterStatus)


@pytest.mark.parametrize("failpoint", ["files.before_rename", "files.after_rename", "cycle.after_report"])
def test_a_kill_while_writing_leaves_whole_files(tmp_path: Path, failpoint: str) -> None:
    layout = ReadinessLayout(Home(tmp_path))
    write_report(layout, never())
    code = """
import sys
from pathlib import Path
from tests.readiness.report.test_write import Home, ReadinessLayout, mixed, write_report
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


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("never checked", "This ComfyUI host has not been checked yet"),
        ("nothing found", "This ComfyUI host has no workflows"),
        ("all ready", "All 2 workflows are ready"),
        ("mixed", "1 of 4 workflows are ready"),
    ],
)
def test_the_headline_says_how_the_host_stands(name: str, line: str) -> None:
    assert headline(EVERY[name]) == line
    assert text_of(render_markdown(EVERY[name])).startswith(line)


def test_one_ready_workflow_is_not_spoken_of_as_many() -> None:
    assert headline(status(entry("/w/a.json"))) == "The only workflow is ready"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("never checked", ["Nothing is known yet.", "the driver did not answer", "Nothing yet."]),
        ("nothing found", ["No workflow was found.", "[[workflows.roots]]", "no NVIDIA GPU"]),
        ("all ready", ["Nothing: every workflow has what it needs."]),
        ("mixed", ["The last cycle was skipped (low-vram): words", "sample host", "20.0 of 24.0 GiB free"]),
    ],
)
def test_the_markdown_says_what_matters(name: str, expected: list[str]) -> None:
    text = text_of(render_markdown(EVERY[name]))
    for words in expected:
        assert words in text


def test_nothing_to_do_is_not_said_of_a_workflow_that_is_not_ready() -> None:
    text = text_of(render_markdown(status(entry("/w/a.json"), entry("/w/b.json", WorkflowStatus.UNCERTAIN))))
    assert "Nothing: every workflow" not in text
    assert "why a workflow is not READY stands with it below" in text


def test_classes_keep_their_letter_case_and_files_are_needed_by_nobody() -> None:
    node = MissingNode("KSamplerXL", "missing", ("1",), (ProviderPackage("Pack"),), "Install Pack.")
    missing = msgspec.structs.replace(entry("/w/a.json", WorkflowStatus.MISSING), missing_nodes=(node,))
    broken = msgspec.structs.replace(
        entry("/w/b.json", WorkflowStatus.INVALID), problems=(FileProblem("x", "It is no JSON."),)
    )
    text = text_of(render_markdown(status(missing, broken)))
    assert "Missing node classes: KSamplerXL; needed by 1 workflow: a.json." in text
    assert "Repair the file, or move it out of the workflow folder.\nIt is no JSON." in text


def test_what_fails_in_the_environment_comes_first_and_every_odd_check_has_a_row() -> None:
    checks = (
        EnvironmentCheck("lock", "ok", "The lock is well."),
        EnvironmentCheck("production", "fail", "numpy 2.2 is not there.", "gov init", vital=True),
        EnvironmentCheck("storage", "unknown", "an uncounted size."),
    )
    missing = entry("/w/a.json", WorkflowStatus.MISSING, models=1)
    markdown = render_markdown(status(missing, environment=Environment("fail", checks, "/env")))
    text = text_of(markdown)
    assert "Python environment (production): gov init\nNumpy 2.2 is not there.\n" in text
    assert "**Python environment (production)**: `gov init`" in markdown
    assert [line for line in markdown.splitlines() if line.startswith(("| production", "| storage", "| lock"))] == [
        "| production | fail | numpy 2.2 is not there. | `gov init` |",
        "| storage | unknown | an uncounted size. |  |",
    ]
    assert "Environment: fail: production, storage (of 3 checks)" in text


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (NOT_GOVERNED, "not checked: no governed environment (run gov init)"),
        (Environment("unknown"), "not checked yet"),
        (Environment("ok", (EnvironmentCheck("lock", "ok", "Well."),)), "1 check, all ok"),
    ],
)
def test_an_environment_without_anything_odd_is_one_line_of_the_host(environment: Environment, said: str) -> None:
    text = text_of(render_markdown(status(environment=environment)))
    assert f"Environment: {said}" in text
    assert "What was seen" not in text


def test_every_workflow_has_one_row_the_worst_first() -> None:
    rows = [line.split(" | ")[:2] for line in render_markdown(mixed()).splitlines() if line.startswith("| `")]
    assert [verdict for _, verdict in rows] == ["INVALID", "MISSING", "UNCERTAIN", "READY"]
    assert rows[0][0] == "| `broken.json`"
    assert rows[2][0] == "| `sub/uncertain.json`"


def blocks(markdown: str) -> list[str]:
    return [token.type for token in PARSER.parse(markdown)]


def text_of(markdown: str) -> str:
    lines = []
    for token in PARSER.parse(markdown):
        if token.type == "inline":
            kinds = {"softbreak": "\n"}
            lines.append("".join(kinds.get(child.type, child.content) for child in token.children or []))
    return "\n".join(lines)


def check_harmless(text: str) -> None:
    markdown = render_markdown(mixed(text))
    assert blocks(markdown) == blocks(render_markdown(mixed("words")))
    for token in PARSER.parse(markdown):
        for child in token.children or []:
            assert child.type in {
                "text", "text_special", "code_inline", "softbreak", "strong_open", "strong_close",
                "link_open", "link_close",
            }  # fmt: skip
            if child.type == "link_open":
                assert str(child.attrs["href"]).startswith("https://x.example/")
            assert child.content.isprintable()


def test_hostile_names_change_nothing_of_the_structure() -> None:
    check_harmless(HOSTILE)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and "/" not in text))
def test_no_name_changes_anything_of_the_structure(text: str) -> None:
    check_harmless(text)


def test_many_actions_stay_one_list() -> None:
    entries = [entry(f"/w/{n}.json", WorkflowStatus.MISSING, text=f"t{n}", models=1, nodes=1) for n in range(60)]
    found = blocks(render_markdown(status(*entries)))
    assert found.count("ordered_list_open") == 1
    assert "code_block" not in found


def test_the_summary_counts_distinct_things() -> None:
    one = summarise(
        [entry("/a", WorkflowStatus.MISSING, models=2, nodes=1), entry("/b", WorkflowStatus.MISSING, models=1, nodes=2)]
    )
    assert (one.workflows, one.missing, one.missing_models, one.missing_nodes) == (2, 2, 2, 2)
    assert summarise([]).workflows == 0


def test_names_are_shown_without_the_folders_they_share() -> None:
    assert shorten_paths(["/w/a.json", "/w/sub/b.json"]) == {"/w/a.json": "a.json", "/w/sub/b.json": "sub/b.json"}
    assert shorten_paths(["/w/a.json"]) == {"/w/a.json": "a.json"}
    assert shorten_paths(["/a", "/b/c"]) == {"/a": "a", "/b/c": "b/c"}
    assert shorten_paths(["rel/a", "/b"]) == {"rel/a": "rel/a", "/b": "/b"}
    assert shorten_paths([]) == {}


class Notes:
    """A memory that counts how often something new is kept."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.writes = 0

    def note(self, name: str) -> str | None:
        return self.kept.get(name)

    def set_note(self, name: str, value: str) -> None:
        self.kept[name] = value
        self.writes += 1


def test_an_unchanged_host_is_rendered_once_and_shows_the_new_times() -> None:
    notes = Notes()
    first = mixed()
    second = msgspec.structs.replace(first, checked_at="2031-01-01T00:00:00Z", valid_until="2031-01-01T02:15:00Z")
    assert render_markdown_cached(first, notes) == render_markdown(first)
    assert render_markdown_cached(second, notes) == render_markdown(second)
    assert "2031-01-01T02:15:00Z" in render_markdown_cached(second, notes)
    assert notes.writes == 1


def test_a_changed_host_is_rendered_again() -> None:
    notes = Notes()
    first = mixed()
    changed = msgspec.structs.replace(first, problems=(*first.problems, "a disk is gone"))
    render_markdown_cached(first, notes)
    assert "a disk is gone" in render_markdown_cached(changed, notes)
    assert notes.writes == 2
