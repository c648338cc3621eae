"""The proof that a model is not where it was looked for. Without one, no search result may be NOT_FOUND."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from comfywatchman.sources.file_names import base_name, is_same_name
from comfywatchman.sources.identifiers import parse_sha256


class UnknownHash(msgspec.Struct, frozen=True, tag="hash"):
    """Proof by hash: a source that searches by hash responded that it has no file with the declared one.

    Attributes:
        source: `civitai` or `civarchive`.
        sha256: The declared hash, lower case.

    Raises:
        ValueError: There is no valid hash, so nothing was searched for.
    """

    source: str
    sha256: str

    def __post_init__(self) -> None:
        if parse_sha256(self.sha256) != self.sha256:
            raise ValueError("without a SHA-256 in lower case, no absence is proved by hash")


class RepositoryListing(msgspec.Struct, frozen=True, tag="listing"):
    """Proof by listing: the repository that the workflow declares was listed completely, without the file.

    Attributes:
        source: `huggingface` or `civitai`.
        place: `owner/name` on Hugging Face; `version 12` or `model 12` on Civitai.
        names: The file names that were looked for.
        files: Number of files that were listed.
        revisions: The revisions that were listed; empty where there are none.

    Raises:
        ValueError: Nothing was looked for.
    """

    source: str
    place: str
    names: tuple[str, ...]
    files: int
    revisions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.place or not self.names:
            raise ValueError("an absence is proved for a place and a name")


AbsenceProof = UnknownHash | RepositoryListing
"""Recorded answers which prove that a source does not have a model. A search by words proves nothing."""


def prove_by_listing(
    names: Sequence[str],
    listed: Iterable[str],
    *,
    unreadable: int,
    source: str,
    place: str,
    revisions: Sequence[str] = (),
) -> RepositoryListing | None:
    """Return the proof that a listing holds no file of some names; None if it may hold one.

    Args:
        names: The file names, without folder.
        listed: The paths or names of all files of the place.
        unreadable: Number of entries that could not be read; each may be the file.
        source: As in `RepositoryListing`, like the next two.
        place: The place that was listed.
        revisions: Its revisions.
    """
    listed_names = [base_name(path) for path in listed]
    if unreadable or any(is_same_name(name, other) for name in names for other in listed_names):
        return None
    return RepositoryListing(source, place, tuple(names), len(listed_names), tuple(revisions))
