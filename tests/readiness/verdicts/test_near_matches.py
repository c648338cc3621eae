from __future__ import annotations

import pytest

from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.near_matches import (
    compare_names,
    find_similar_names,
    judge_near_matches,
    judge_without_folder,
    pick_loadable,
)
from tests.readiness.verdicts.test_models import Inventory, Model, reference


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("sub/a.pt", "sub/a.pt", ModelState.SEPARATOR),
        ("cafe\u0301.pt", "caf\u00e9.pt", ModelState.NORMALISATION),
        ("CAFE\u0301.pt", "caf\u00e9.pt", ModelState.CASE),
        ("A.pt", "a.pt", ModelState.CASE),
        ("sub/a.pt", "a.pt", None),
    ],
)
def test_names_differ_in_their_spelling_or_in_more(name: str, wanted: str, expected: ModelState | None) -> None:
    assert compare_names(name, ["other.pt", wanted]) is expected


def test_closest_difference_goes_before_others() -> None:
    inventory = Inventory(Model("loras", "A.pt"), Model("loras", "sub/a.pt"), Model("vae", "a.pt"))
    finding = judge_near_matches(reference("a.pt"), "loras", inventory, ())
    assert (finding.state, finding.path) == (ModelState.CASE, Model("loras", "A.pt").path)


def test_each_file_is_offered_once_though_several_names_lead_to_it() -> None:
    inventory = Inventory(Model("loras", "x/a.pt"), Model("loras", "y/a.pt"))
    finding = judge_near_matches(reference("a.pt", tries=("a.pt", "sub/a.pt")), "loras", inventory, ())
    assert finding.fix == "Choose one of these in the node: x/a.pt, y/a.pt."
    assert finding.path is None


def test_healthy_file_is_picked_before_a_broken_one() -> None:
    broken, healthy = Model("loras", "a.pt", "cut off"), Model("loras", "b.pt")
    assert pick_loadable([broken, healthy]) is healthy
    assert pick_loadable([broken]) is broken


@pytest.mark.parametrize(("folder", "name"), [("loras", "A.pt"), ("loras", "sub/a.pt"), ("vae", "a.pt")])
def test_broken_near_match_is_invalid(folder: str, name: str) -> None:
    inventory = Inventory(Model(folder, name, "cut off"))
    assert judge_near_matches(reference("a.pt"), "loras", inventory, ()).state is ModelState.INVALID


def test_file_of_another_folder_is_named_with_its_target() -> None:
    inventory = Inventory(Model("vae", "a.pt", "cut off"), Model("checkpoints", "x/a.pt"))
    finding = judge_near_matches(reference("sub\\a.pt"), "loras", inventory, ())
    assert (finding.state, finding.path) == (ModelState.WRONG_FOLDER, "/models/checkpoints/x/a.pt")
    assert "lies in checkpoints" in (finding.fix or "")
    assert (finding.fix or "").endswith("to /data/loras/sub/a.pt.")


@pytest.mark.parametrize(
    ("names", "state"),
    [(["b/a.pt"], ModelState.SUBFOLDER), (["A.pt"], ModelState.CASE), (["a.pt"], ModelState.SEPARATOR)],
)
def test_model_without_a_folder_is_named_with_its_folder(names: list[str], state: ModelState) -> None:
    inventory = Inventory(*(Model("vae", name) for name in names))
    finding = judge_without_folder(reference("a.pt", folder=None), inventory)
    assert (finding.state, finding.fix) == (state, f"This host has vae/{names[0]}; choose it in the node.")


def test_unknown_model_of_an_unknown_folder_is_missing() -> None:
    finding = judge_without_folder(reference("a.pt", folder=None), Inventory())
    assert (finding.state, finding.path) == (ModelState.MISSING, None)


def test_name_without_a_folder_is_like_no_other() -> None:
    assert find_similar_names(reference("a.pt", folder=None), Inventory(Model("vae", "a.pt"))) == []
