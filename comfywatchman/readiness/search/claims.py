"""What a search works with: the wanted model, proposals for it, and what the hubs (model sites) state of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from comfywatchman.readiness.search.absence import AbsenceProof
from comfywatchman.readiness.search.results import NO_DETAILS, NO_HUB_IDS, FileDetails, HubIds
from comfywatchman.sources.file_names import base_name

ProposedBy = Literal["workflow", "note", "catalogue", "search", "model"]
"""Origin of a proposal: a declaration or a note of the workflow, a catalogue, our search, a language model."""

SHA256_PATTERN: Final = re.compile(r"[0-9a-f]{64}")


class HubState(Enum):
    """What a hub reports about a proposed file."""

    PRESENT = auto()
    ABSENT = auto()
    GATED = auto()
    HIDDEN = auto()
    """The hub denies access, or reports that it does not exist in the way in which it hides private things."""
    ARCHIVED = auto()
    """Its author has archived the model."""
    TAKEN_DOWN = auto()
    HASH_NOT_SHOWN = auto()
    """The hub knows the hash, but shows no file that has it."""
    CUT = auto()
    """The hub lists more files than were read, one of which may be the file."""
    UNVERIFIABLE = auto()
    """It is on none of the hubs that can verify it."""
    UNREACHABLE = auto()
    """The hub did not respond."""
    FAILED = auto()
    """The request failed in another way, or was not sent: rate limit, budget, refused key."""
    UNREADABLE = auto()
    """The hub's response, or the part in which the file may be, cannot be read."""


UNANSWERED_STATES: Final = frozenset({HubState.UNREACHABLE, HubState.FAILED, HubState.UNREADABLE})
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
        details: What tells it apart from other files of its name.
        restriction: Why the file cannot be fetched at present, such as `Early access: …`; None if nothing is known.
        is_complete: False for a record from a list, which leaves out whether the file may be downloaded.
        reason: Why the file is not available, in a sentence; empty for `PRESENT` and `UNREACHABLE`.
        unreadable: Names of fields that the hub sent in a form that cannot be read.
        absence: The proof that the hub does not have it; only for `ABSENT`, and None where nothing is proved.
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
    details: FileDetails = NO_DETAILS
    restriction: str | None = None
    is_complete: bool = True
    reason: str = ""
    unreadable: tuple[str, ...] = ()
    absence: AbsenceProof | None = None


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
