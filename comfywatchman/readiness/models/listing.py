"""Which model folders could be listed, and whether that proves a model missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from comfywatchman.base.files import to_nfc
from comfywatchman.comfyui.install.reachability import Obstacle


class ListingGap(msgspec.Struct, frozen=True):
    """A place that could not be listed.

    Attributes:
        prefix: What the names of the models there begin with (`sdxl/`); empty for a whole directory.
        obstacle: Why.
    """

    prefix: str
    obstacle: Obstacle

    def may_hold(self, name: str) -> bool:
        """Return whether a model of this name may be there, in whatever spelling."""
        return _fold(name).startswith(_fold(self.prefix))


class FolderListing(msgspec.Struct, frozen=True):
    """The directories of a model folder, and the places in them that could not be listed."""

    directories: tuple[str, ...]
    gaps: tuple[ListingGap, ...] = ()


@dataclass(frozen=True, slots=True)
class CompleteListing:
    """Proof that no model folder holds one of some names: every place where they could be was listed.

    Attributes:
        names: The names, with `/`.
        listings: The folders that were searched, by name.

    Raises:
        ValueError: A place that may hold one of the names was not listed, or no folder was.
    """

    names: tuple[str, ...]
    listings: tuple[FolderListing, ...]

    def __post_init__(self) -> None:
        if not self.listings:
            raise ValueError("nothing was listed, so nothing is known to be missing")
        if find_obstacle(self.names, self.listings) is not None:
            raise ValueError("a place that may hold the model was not listed")


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """Proof that a model is missing: its name is a link to a file that does not exist in a folder that was listed."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class ServerList:
    """Proof that the running server would refuse a model: the list that it offers, without the name."""

    input: str
    offered: int


Absence = CompleteListing | BrokenLink | ServerList
"""Proof that a model is missing. Without one, no model may be called missing."""


def find_obstacle(names: Sequence[str], listings: Iterable[FolderListing]) -> Obstacle | None:
    """Return why one of the names may be in a place that was not listed; None when all such places were listed."""
    for listing in listings:
        for gap in listing.gaps:
            if any(gap.may_hold(name) for name in names):
                return gap.obstacle
    return None


def _fold(name: str) -> str:
    return to_nfc(name.replace("\\", "/").lower())
