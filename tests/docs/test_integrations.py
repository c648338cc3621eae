"""The page on model sites names the defaults of the schedule and the search as the program has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfywatchman import __version__
from comfywatchman.base.config import load

PAGE = Path(__file__).parents[2] / "docs" / "technical" / "integrations.md"
SETTINGS = load(folder=Path("/"), environment={}).settings


@pytest.mark.parametrize(
    ("value", "unit", "key"),
    [
        (SETTINGS.schedule.interval_minutes, " minutes", "interval_minutes"),
        (SETTINGS.schedule.min_vram_gb, " GiB", "min_vram_gb"),
        (SETTINGS.schedule.resume_grace_seconds, " seconds", "resume_grace_seconds"),
        (SETTINGS.search.budget_seconds, " seconds", "budget_seconds"),
        (SETTINGS.search.budget_requests, " requests", "budget_requests"),
        (SETTINGS.search.parallel, " models", "parallel"),
        (SETTINGS.search.timeout_seconds, " seconds", "timeout_seconds"),
    ],
)
def test_default_of_the_page_is_that_of_the_program(value: float, unit: str, key: str) -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    place = text.index(f"{key}`")
    assert f"{value:g}{unit}" in text[place - 80 : place]


def test_order_of_the_page_is_that_of_the_program() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    places = [text.index(f"`{backend}`") for backend in SETTINGS.search.backend_order]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["state", "output", "log"])
def test_fresh_clone_has_the_folders_with_a_description(name: str) -> None:
    root = Path(__file__).parents[2]
    assert (root / name / "README.md").read_text("utf-8").startswith(f"# {name}\n")
    assert f"!/{name}/README.md" in (root / ".gitignore").read_text("utf-8")


def test_versions_of_the_changelog_are_dated() -> None:
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text("utf-8")
    first, *released = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", title) for title in released)
    assert released[0].startswith(f"{__version__} (")
