"""Values of the search: the model that is wanted, proposals for it, and the records of the hubs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from comfywatchman.readiness.search.results import NO_HUB_IDS, HubIds
from comfywatchman.sources.file_names import base_name

ProposedBy = Literal["workflow", "note", "catalogue", "search", "model"]
"""Origin of a proposal: a declaration or a note of the workflow, a catalogue, our search, a language model."""

SHA256_PATTERN: Final = re.compile(r"[0-9a-f]{64}")


class HubState(Enum):
    """What a hub reports about a proposed file."""

    PRESENT = auto()
    ABSENT = auto()
    GATED = auto()
    UNVERIFIABLE = auto()
    """It is on none of the hubs that can verify it."""
    UNREACHABLE = auto()
    """The hub did not respond."""
    FAILED = auto()
    """The request failed in another way, or was not sent: rate limit, budget, refused key."""


UNANSWERED_STATES: Final = frozenset({HubState.UNREACHABLE, HubState.FAILED})
"""States from which nothing may be concluded about the file."""


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """A model to search for.

    Attributes:
        filename: As the workflow writes it, with folder and slashes.
        names: File names that the server would accept, without folder, the workflow's own first.
        folder: Model folder of the loader; None if unknown.
        sha256: Hash that the workflow declares for it, lower case; None if it declares none.
    """

    filename: str
    names: tuple[str, ...]
    folder: str | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A claim that a file on a hub is the model.

    Attributes:
        by: Origin of the claim.
        origin: The same for people (`the workflow's node 12`).
        ids: Ids of the file, its version or its repository, as far as the claim goes.
        name: File name according to the claim; empty if it gives none.
        sha256: Hash according to the claim, lower case.
        url: URL of the claim. It is displayed, never requested.
    """

    by: ProposedBy
    origin: str
    ids: HubIds = NO_HUB_IDS
    name: str = ""
    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class HubRecord:
    """What a hub reports about one proposed file.

    Attributes:
        proposal: The claim.
        state: Whether the hub has the file.
        source: `huggingface`, `civitai`, `civarchive` or a host.
        name: File name on the hub.
        ids: Exact ids of the file.
        url: Download URL, built by us.
        size: In bytes.
        size_is_exact: False where the hub rounds.
        sha256: Lower case.
        model_type: Type of the model on Civitai.
        file_type: Type of the file on Civitai.
        format: `SafeTensor`, `PickleTensor`, …
        scans: Results of virus and pickle scanners.
        base_model: Model family.
        note: A restriction to report, such as `early access until …`.
        reason: Why the file is not available, in a sentence; empty for `PRESENT` and `UNREACHABLE`.
    """

    proposal: Proposal
    state: HubState
    source: str
    name: str = ""
    ids: HubIds = NO_HUB_IDS
    url: str | None = None
    size: int | None = None
    size_is_exact: bool = True
    sha256: str | None = None
    model_type: str | None = None
    file_type: str | None = None
    format: str | None = None
    scans: tuple[str, ...] = ()
    base_model: str | None = None
    note: str | None = None
    reason: str = ""


def build_query(
    filename: str, folder: str | None, *, tries: Sequence[str] = (), sha256: str | None = None
) -> ModelQuery:
    """Return the query for a model.

    Args:
        filename: As the workflow writes it.
        folder: Model folder of the loader.
        tries: Names that the server tries in turn (`Reference.tries`); the file name alone if empty.
        sha256: A declared hash; ignored if it is malformed.
    """
    names = tuple(dict.fromkeys(base_name(name) for name in (tries or (filename,))))
    digest = (sha256 or "").lower()
    declared = digest if SHA256_PATTERN.fullmatch(digest) else None
    return ModelQuery(filename, names, folder, declared)
