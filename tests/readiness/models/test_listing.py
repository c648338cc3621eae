from __future__ import annotations

import pytest

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.readiness.models.listing import CompleteListing, FolderListing, ListingGap, find_obstacle

CLOSED = Obstacle(ObstacleKind.UNREADABLE, "/m/loras/sdxl", "Permission denied")
UNMOUNTED = Obstacle(ObstacleKind.NOT_MOUNTED, "/mnt/loras", "the folder is empty")
OPEN = FolderListing(("/m/loras",))
PARTIAL = FolderListing(("/m/loras",), (ListingGap("sdxl/", CLOSED),))


@pytest.mark.parametrize(
    ("prefix", "name", "expected"),
    [
        ("", "a.pt", True),
        ("sdxl/", "sdxl/a.pt", True),
        ("sdxl/", "SDXL\\A.pt", True),
        ("SdXl/", "sdxl/a.pt", True),
        ("e\u0301/", "\u00e9/a.pt", True),
        ("\u00e9/", "e\u0301\\a.pt", True),
        ("sdxl/", "sdxl.pt", False),
        ("sdxl/", "sdxl2/a.pt", False),
        ("sdxl/", "a/sdxl/a.pt", False),
    ],
)
def test_gap_may_hold_names_below_it_in_any_spelling(prefix: str, name: str, *, expected: bool) -> None:
    assert ListingGap(prefix, CLOSED).may_hold(name) is expected


def test_obstacle_of_any_name_and_folder_counts() -> None:
    assert find_obstacle(["a.pt", "sdxl/a.pt"], [OPEN, PARTIAL]) == CLOSED
    assert find_obstacle(["a.pt"], [OPEN, PARTIAL]) is None
    assert find_obstacle([], [FolderListing(("/m",), (ListingGap("", CLOSED),))]) is None


def test_first_obstacle_is_returned() -> None:
    mount = FolderListing(("/mnt/loras",), (ListingGap("", UNMOUNTED),))
    assert find_obstacle(["sdxl/a.pt"], [mount, PARTIAL]) == UNMOUNTED
    assert find_obstacle(["sdxl/a.pt"], [PARTIAL, mount]) == CLOSED


def test_unlisted_place_of_another_name_does_not_spoil_the_proof() -> None:
    assert CompleteListing(("a.pt",), (PARTIAL,)).listings == (PARTIAL,)
    with pytest.raises(ValueError, match="not listed"):
        CompleteListing(("a.pt", "sdxl/a.pt"), (OPEN, PARTIAL))


def test_nothing_is_missing_while_nothing_was_listed() -> None:
    with pytest.raises(ValueError, match="nothing was listed"):
        CompleteListing(("a.pt",), ())
