from __future__ import annotations

import pytest

from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.near_matches import compare_names, judge_near_matches, pick_loadable
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
    assert pick_loadable([]) is None
