from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from comfywatchman.readiness.report.render import headline, render_markdown, render_markdown_cached, shorten_paths
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    Environment,
    EnvironmentCheck,
    FileProblem,
    MissingNode,
    ProviderPackage,
)
from tests.readiness.report.sample_reports import EVERY, HOSTILE, entry, mixed, status

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("never checked", "This ComfyUI host has not been checked yet"),
        ("nothing found", "This ComfyUI host has no workflows"),
        ("all ready", "All 2 workflows are ready"),
        ("mixed", "1 of 4 workflows are ready"),
    ],
)
def test_headline_counts_ready_workflows(name: str, line: str) -> None:
    assert headline(EVERY[name]) == line
    assert text_of(render_markdown(EVERY[name])).startswith(line)


def test_headline_of_a_single_ready_workflow() -> None:
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
def test_markdown_holds_the_important_facts(name: str, expected: list[str]) -> None:
    text = text_of(render_markdown(EVERY[name]))
    for words in expected:
        assert words in text


def test_workflow_that_is_not_ready_is_never_nothing_to_do() -> None:
    text = text_of(render_markdown(status(entry("/w/a.json"), entry("/w/b.json", WorkflowStatus.UNCERTAIN))))
    assert "Nothing: every workflow" not in text
    assert "why a workflow is not READY stands with it below" in text


def test_classes_keep_their_letter_case() -> None:
    node = MissingNode("KSamplerXL", "missing", ("1",), (ProviderPackage("Pack"),), "Install Pack.")
    missing = msgspec.structs.replace(entry("/w/a.json", WorkflowStatus.MISSING), missing_nodes=(node,))
    broken = msgspec.structs.replace(
        entry("/w/b.json", WorkflowStatus.INVALID), problems=(FileProblem("x", "It is no JSON."),)
    )
    text = text_of(render_markdown(status(missing, broken)))
    assert "Missing node classes: KSamplerXL; needed by 1 workflow: a.json." in text
    assert "Repair the file, or move it out of the workflow folder.\nIt is no JSON." in text


def test_failed_checks_come_first_and_have_a_row() -> None:
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
    ("environment", "expected"),
    [
        (NOT_GOVERNED, "not checked: no governed environment (run gov init)"),
        (Environment("unknown"), "not checked yet"),
        (Environment("ok", (EnvironmentCheck("lock", "ok", "Well."),)), "1 check, all ok"),
    ],
)
def test_healthy_environment_is_one_line(environment: Environment, expected: str) -> None:
    text = text_of(render_markdown(status(environment=environment)))
    assert f"Environment: {expected}" in text
    assert "What was seen" not in text


def test_workflows_are_sorted_by_status() -> None:
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


def test_hostile_names_do_not_change_the_structure() -> None:
    check_harmless(HOSTILE)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and "/" not in text))
def test_no_name_changes_the_structure(text: str) -> None:
    check_harmless(text)


def test_many_actions_stay_one_list() -> None:
    entries = [entry(f"/w/{n}.json", WorkflowStatus.MISSING, text=f"t{n}", models=1, nodes=1) for n in range(60)]
    kinds = blocks(render_markdown(status(*entries)))
    assert kinds.count("ordered_list_open") == 1
    assert "code_block" not in kinds


def test_paths_are_shown_without_shared_folders() -> None:
    assert shorten_paths(["/w/a.json", "/w/sub/b.json"]) == {"/w/a.json": "a.json", "/w/sub/b.json": "sub/b.json"}
    assert shorten_paths(["/w/a.json"]) == {"/w/a.json": "a.json"}
    assert shorten_paths(["/a", "/b/c"]) == {"/a": "a", "/b/c": "b/c"}
    assert shorten_paths(["rel/a", "/b"]) == {"rel/a": "rel/a", "/b": "/b"}
    assert shorten_paths([]) == {}


class Notes:
    """A cache that counts its writes."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.writes = 0

    def note(self, name: str) -> str | None:
        return self.kept.get(name)

    def set_note(self, name: str, value: str) -> None:
        self.kept[name] = value
        self.writes += 1


def test_unchanged_report_is_rendered_once_with_new_times() -> None:
    notes = Notes()
    first = mixed()
    second = msgspec.structs.replace(first, checked_at="2031-01-01T00:00:00Z", valid_until="2031-01-01T02:15:00Z")
    assert render_markdown_cached(first, notes) == render_markdown(first)
    assert render_markdown_cached(second, notes) == render_markdown(second)
    assert "2031-01-01T02:15:00Z" in render_markdown_cached(second, notes)
    assert notes.writes == 1


def test_changed_report_is_rendered_again() -> None:
    notes = Notes()
    first = mixed()
    changed = msgspec.structs.replace(first, problems=(*first.problems, "a disk is gone"))
    render_markdown_cached(first, notes)
    assert "a disk is gone" in render_markdown_cached(changed, notes)
    assert notes.writes == 2
