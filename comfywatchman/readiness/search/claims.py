"""What is looked for, what somebody claims of it, and what a hub says: the values that the search passes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.readiness.search.results import NO_HUB_IDS, HubIds
from comfywatchman.sources.file_names import base_name

ProposedBy = Literal["workflow", "note", "catalogue", "search", "model"]
"""Who proposes: the workflow's own declaration, an address in its notes, a catalogue, our search, a language model."""

HubState = Literal["there", "absent", "gated", "unverifiable", "unknown"]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """A model that is looked for.

    Attributes:
        filename: As the workflow writes it, with folder and slashes.
        names: File names that the server would accept, without folder, the workflow's own first.
        folder: What its loader reads; None when unknown.
        sha256: The hash that the workflow declares for it, lower case; None when it declares none.
    """

    filename: str
    names: tuple[str, ...]
    folder: str | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A claim that a file on a hub is the model.

    Attributes:
        by: Who claims it.
        who: The same in words (`the workflow's node 12`).
        ids: What names the file, its version or its repository, as far as the claim goes.
        name: What the claimant calls the file; empty when it gives no name.
        sha256: The hash it claims, lower case.
        url: The address it came as; only shown, never asked.
    """

    by: ProposedBy
    who: str
    ids: HubIds = NO_HUB_IDS
    name: str = ""
    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class HubRecord:
    """What a hub says of one proposed file.

    Attributes:
        proposal: The claim.
        state: `there`; `absent` (the hub says so); `gated`; `unverifiable` (no hub of ours); `unknown` (no answer).
        source: `huggingface`, `civitai`, `civarchive` or a host.
        name: The file's own name.
        ids: What names it exactly.
        url: Built by us.
        size: In bytes.
        size_is_exact: False where the hub rounds.
        sha256: Lower case.
        model_type: Civitai's word for the model.
        file_type: Civitai's word for the file.
        format: `SafeTensor`, `PickleTensor`, …
        scans: What scanners said.
        base_model: Its family.
        note: Something a person should know (`early access until …`).
        said: Why it is not there, in a sentence.
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
    said: str = ""


def build_query(
    filename: str, folder: str | None, *, tries: Sequence[str] = (), sha256: str | None = None
) -> ModelQuery:
    """Put together what is looked for.

    Args:
        filename: As the workflow writes it.
        folder: What its loader reads.
        tries: Names that the server tries in turn (`Reference.tries`); the file name alone when empty.
        sha256: A declared hash; ignored unless it is one.
    """
    names = tuple(dict.fromkeys(base_name(name) for name in (tries or (filename,))))
    digest = (sha256 or "").lower()
    return ModelQuery(filename, names, folder, digest if _SHA256.fullmatch(digest) else None)
