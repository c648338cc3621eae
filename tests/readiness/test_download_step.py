"""A plan for what was found, written anew only when it changes; without a person only what is proved is fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenario import Scenario, start_scenario
from tests.model_files import put

pytestmark = pytest.mark.slow

LORA = "detail_tweaker.safetensors"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Scenario]:
    """Sites and a host that lacks nothing yet."""
    with start_scenario(tmp_path, empty=True) as running:
        yield running


def plans(made: Scenario) -> list[Path]:
    return sorted((made.host.home / "output" / "plans").glob("*.json"))


def plan(made: Scenario) -> dict[str, Any]:
    """Run a cycle and return what its report says of the plan."""
    said: dict[str, Any] = made.host.report_after_cycle()["plan"]
    return said


def available(made: Scenario, *names: str) -> None:
    for name in names:
        made.on_civitai(name)
        made.lora(name)


def test_without_anything_found_there_is_no_plan(made: Scenario) -> None:
    assert plan(made) is None
    made.lora("nobody_knows_it.safetensors")
    assert plan(made) is None
    assert plans(made) == []


def test_a_plan_is_named_in_report_markdown_and_terminal(made: Scenario) -> None:
    available(made, LORA, "paper_cut.safetensors")
    said = plan(made)
    (path,) = plans(made)
    size = sum(len(made.bytes_of[name]) for name in (LORA, "paper_cut.safetensors"))
    assert said == {
        "file": str(path),
        "downloads": 2,
        "total_bytes": said["total_bytes"],
        "to_choose": 0,
        "blocked": [],
        "fetched": 0,
    }
    assert abs(said["total_bytes"] - size) < 4
    command = f"comfywatchman download --plan {path.name}"
    markdown = made.host.layout.status_markdown.read_text("utf-8")
    assert f"All 2 files that were found: `{command}`." in markdown
    lines = made.host.invoke("--run-cycle").output.strip().split("\n")
    assert lines[-1] == f"All 2 files that were found: {command}"


def test_a_plan_is_written_anew_only_when_it_says_something_else(made: Scenario) -> None:
    available(made, LORA)
    first = plan(made)
    made.host.set(search__timeout_seconds=7)
    assert plan(made) == first
    assert "plan" in made.host.history()[-1].phases
    assert len(plans(made)) == 1
    available(made, "paper_cut.safetensors")
    assert plan(made)["downloads"] == 2
    assert len(plans(made)) == 2


def test_a_damaged_plan_is_a_problem_and_another_one_is_written(made: Scenario) -> None:
    available(made, LORA)
    put(made.host.home / "output" / "plans" / "old.json", b"{broken")
    assert plan(made)["downloads"] == 1
    assert any("is not a valid download plan" in one for one in made.host.report()["problems"])


def test_what_waits_for_a_choice_or_is_blocked_is_counted(made: Scenario) -> None:
    made.on_civitai(LORA)
    made.on_civitai(LORA, had_as="the other one")
    made.lora(LORA)
    made.host.set(downloads__allow_pickle=True)
    made.on_civitai("detail_upscaler.pth", type="Upscaler")
    made.loader("detail_upscaler.pth", "UpscaleModelLoader")
    said = plan(made)
    assert (said["downloads"], said["to_choose"]) == (1, 1)
    assert "1 model is uncertain" in made.host.invoke("status").output
    made.host.set(downloads__allow_pickle=False)
    made.host.invoke("resolve", "--choose", "detail_upscaler.pth", "1")
    said = plan(made)
    assert (said["downloads"], [one["name"] for one in said["blocked"]]) == (0, ["detail_upscaler.pth"])
    words = "`detail_upscaler.pth`: Files of this kind can run code"
    assert words in made.host.layout.status_markdown.read_text("utf-8")
    assert "1 model was found, but is blocked" in made.host.invoke("status").output


def test_no_plan_is_named_for_what_is_missing_no_longer(made: Scenario) -> None:
    available(made, LORA)
    assert plan(made) is not None
    made.host.model(f"loras/{LORA}")
    assert plan(made) is None
    assert "planned downloads" not in made.host.invoke("status").output


@pytest.mark.parametrize("link", ["hard", "off"])
def test_bytes_that_lie_here_are_linked_unless_links_are_off(made: Scenario, link: str) -> None:
    made.host.set(downloads__link=link)
    available(made, LORA)
    made.host.model("loras/its old name.safetensors", made.bytes_of[LORA])
    (item,) = json.loads(Path(plan(made)["file"]).read_bytes())["items"]
    assert ("same_as" in item) is (link == "hard")


def test_without_being_asked_for_nothing_is_fetched(made: Scenario) -> None:
    available(made, LORA)
    made.host.cycle()
    assert made.cdn.asked == []


def test_auto_takes_what_is_found_and_the_next_cycle_says_ready(made: Scenario) -> None:
    available(made, LORA, "inks/paper_cut.safetensors")
    made.civitai.models[1]["modelVersions"][0]["files"][0]["name"] = "paper_cut.safetensors"
    made.host.set(downloads__auto=True)
    assert plan(made)["fetched"] == 2
    assert "2 of 2 planned downloads came in with this check" in made.host.layout.status_markdown.read_text("utf-8")
    assert "2 of 2 planned downloads came in; the next check judges them." in made.host.invoke("status").output
    assert made.host.status().summary.ready == 2
    fetched = made.host.comfyui / "models" / "loras" / LORA
    assert fetched.read_bytes() == made.bytes_of[LORA]


def test_auto_takes_what_an_earlier_cycle_has_found(made: Scenario) -> None:
    available(made, LORA)
    made.host.invoke("--run-cycle")
    searched = len(made.civitai.asked)
    ended = made.host.invoke("--run-cycle", "--auto-download")
    assert "1 of 1 planned downloads came in" in ended.output
    assert "search" not in made.host.history()[-1].phases
    # The download itself is the only thing that was asked for.
    assert len(made.civitai.asked) == searched + 1
    assert made.host.status().summary.ready == 1


def test_auto_takes_no_doubt_no_pickle_and_nothing_without_a_hash(made: Scenario) -> None:
    made.host.set(downloads__auto=True, downloads__allow_pickle=True)
    made.on_civitai("two.safetensors")
    made.on_civitai("two.safetensors", had_as="the other one")
    made.lora("two.safetensors")
    made.on_civitai("detail_upscaler.pth", type="Upscaler")
    made.loader("detail_upscaler.pth", "UpscaleModelLoader")
    made.on_civitai("unproved.safetensors", hashes={})
    made.lora("unproved.safetensors")
    made.lora("nobody_knows_it.safetensors")
    said = plan(made)
    assert (said["downloads"], said["fetched"]) == (1, 0)
    assert made.cdn.asked == []


def test_what_does_not_come_is_a_problem_of_the_report(made: Scenario) -> None:
    made.host.set(downloads__auto=True)
    available(made, LORA)
    next(iter(made.cdn.blobs.values())).forever = "html"
    assert plan(made)["fetched"] == 0
    assert any(one.startswith(f"{LORA} was not downloaded: ") for one in made.host.report()["problems"])
    assert not (made.host.comfyui / "models" / "loras" / LORA).exists()
    assert made.host.history()[-1].errors == 1


def test_a_cycle_tells_how_far_searches_and_downloads_are(made: Scenario) -> None:
    made.host.set(downloads__auto=True)
    available(made, LORA)
    told: list[str] = []
    made.host.cycle(progress=told.append)
    assert "Searching for missing models: 1 of 1" in told
    assert f"Downloading {LORA} (100 %)" in told


def test_an_embedding_that_is_missing_is_named_and_not_planned(made: Scenario) -> None:
    made.embedding("soft_negative")
    made.on_civitai("soft_negative.safetensors", type="TextualInversion")
    status = made.host.status()
    assert (status.summary.ready, status.plan) == (1, None)
    (problem,) = status.workflows[0].problems
    assert "runs the text without the embedding soft_negative" in problem.message
