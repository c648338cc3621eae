from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from comfywatchman.readiness.plan_summary import PlanSummary
from comfywatchman.readiness.report.render import (
    headline,
    render_markdown,
    render_markdown_cached,
    shorten_paths,
)
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    Environment,
    EnvironmentCheck,
    StartProblem,
)
from tests.readiness.report.findings import entry as build_entry
from tests.readiness.report.findings import model, newer
from tests.readiness.report.sample_reports import EVERY, HOSTILE, entry, mixed, status

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("never checked", "No check has run yet"),
        ("nothing found", "No workflows found"),
        ("all ready", "2 of 2 workflows ready"),
        ("mixed", "1 of 4 workflows ready"),
    ],
)
def test_headline_counts_ready_workflows(name: str, line: str) -> None:
    assert headline(EVERY[name]) == line
    assert text_of(render_markdown(EVERY[name])).startswith(line)


def test_headline_of_a_single_ready_workflow() -> None:
    assert headline(status(entry("/w/a.json"))) == "1 of 1 workflows ready"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("never checked", ["Run comfywatchman --run-cycle", "the driver did not answer"]),
        ("nothing found", ["Save a workflow in ComfyUI", "[[workflows.roots]]", "no NVIDIA GPU"]),
        ("all ready", ["Nothing to do: every workflow has what it needs."]),
        ("mixed", ["The last check was skipped: words.", "sample host", "20.0 of 24.0 GiB free"]),
    ],
)
def test_markdown_holds_the_important_facts(name: str, expected: list[str]) -> None:
    text = text_of(render_markdown(EVERY[name]))
    for words in expected:
        assert words in text


def test_workflow_that_is_not_ready_is_never_nothing_to_do() -> None:
    text = text_of(render_markdown(status(entry("/w/a.json"), entry("/w/b.json", WorkflowStatus.UNCERTAIN))))
    assert "Nothing to do" not in text
    assert "b.json: see explain" in text


def test_steps_name_gain_path_size_and_command() -> None:
    found = model("x/a.pt", answer="FOUND", size_bytes=335_000_000)
    declared = model("b c.pt", folder="vae", declared_url="https://x.example/b")
    report = status(
        build_entry("/w/1.json", missing_models=(found,)),
        build_entry("/w/2.json", missing_models=(found,)),
        build_entry(
            "/w/3.json", missing_models=(declared, model("d.pt", folder="vae", declared_url="https://x.example"))
        ),
        build_entry("/w/4.json", missing_nodes=(newer("0.99.0"),)),
        plan=PlanSummary("/plans/c.json", 4, 9, 2),
    )
    text = render_markdown(report)
    assert text[text.index("## Do") : text.index("\n## What")] == (
        "## Do this first\n\n"
        "1. **+2 ready**: download LoRA `models/loras/x/a.pt`, 335 MB\n"
        "   - run `comfywatchman download x/a.pt`\n"
        "2. **+1 ready**: update ComfyUI from words to 0.99.0 or newer\n"
        "   - see [https\\://docs.comfy.org/installation/update_comfyui](https://docs.comfy.org/installation/update_comfyui)\n"
        "3. **+1 ready**: download 2 files (link from the workflow, not verified)\n"
        "   - `models/vae/b c.pt`\n"
        "   - `models/vae/d.pt`\n"
        "   - run `comfywatchman download 'b c.pt' d.pt`\n"
        "\nAll 4 files that were found: `comfywatchman download --plan c.json`.\n"
        "2 models are uncertain; the candidates: `comfywatchman resolve --all`.\n"
    )
    assert text.splitlines()[2] == "**3 steps would make 4 more ready**."


def test_fetched_downloads_are_reported() -> None:
    text = render_markdown(status(entry("/w/a.json"), plan=PlanSummary("/plans/c.json", 4, 9, 1, fetched=3)))
    assert "3 of 4 planned downloads came in with this check; the next one judges them." in text
    assert "1 model is uncertain" in text


def test_at_most_three_troubles_and_few_steps_stand_above_the_table() -> None:
    models = [tuple(model(f"{n}-{k}.pt") for k in range(5)) for n in range(9)]
    entries = [build_entry(f"/w/{n}.json", missing_models=some) for n, some in enumerate(models)]
    problems = tuple(StartProblem(f"/c/{n}.yaml", n, "no value", "Write one.") for n in range(5))
    report = status(*entries, start_problems=problems, problems=())
    text = render_markdown(
        msgspec.structs.replace(report, host=msgspec.structs.replace(report.host, comfyui_running=True))
    )
    assert text.count("**ComfyUI cannot start**") == 3
    assert "- 2 more: `comfywatchman doctor`" in text
    assert text.count("ready**: find") == 3
    assert len(text[: text.index("<details>")].splitlines()) < 80


def test_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        lost = model(unreachable=("civitai",), retry_at="2026-11-20T14:59:00Z")
        text = render_markdown(
            status(build_entry("/w/a.json", missing_models=(lost,)), valid_until="2026-11-21T16:15:00Z")
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "Checked 20 Nov 2026, 15:00 CET; next check by 21 Nov, 17:15." in text
    assert "**Couldn't reach Civitai**: 1 model not looked up; retrying at 15:59." in text


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (NOT_GOVERNED, "not checked: no governed environment (run gov init --adopt)"),
        (Environment("unknown"), "not checked yet"),
        (Environment("ok", (EnvironmentCheck("lock", "ok", "Well."),)), "1 check, all ok"),
    ],
)
def test_healthy_environment_is_one_line(environment: Environment, expected: str) -> None:
    text = text_of(render_markdown(status(environment=environment)))
    assert f"Environment: {expected}" in text


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


def test_steps_stay_one_list() -> None:
    entries = [build_entry(f"/w/{n}.json", missing_models=(model(f"{n}.pt"), model(f"{n}b.pt"))) for n in range(60)]
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


@pytest.mark.slow
def test_unchanged_report_is_rendered_once_with_new_times() -> None:
    notes = Notes()
    first = mixed()
    second = msgspec.structs.replace(first, checked_at="2031-01-01T00:00:00Z", valid_until="2031-01-01T02:15:00Z")
    assert render_markdown_cached(first, notes) == render_markdown(first)
    assert render_markdown_cached(second, notes) == render_markdown(second)
    assert "1 Jan 2031" in render_markdown_cached(second, notes)
    assert notes.writes == 1


@pytest.mark.slow
def test_changed_report_is_rendered_again() -> None:
    notes = Notes()
    first = mixed()
    changed = msgspec.structs.replace(first, problems=(*first.problems, "a disk is gone"))
    render_markdown_cached(first, notes)
    assert "- a disk is gone" in render_markdown_cached(changed, notes)
    assert notes.writes == 2
