"""What files of this host are, asked of Civitai by their hashes. Nothing is kept, and nothing of a file is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.search.budget import Budget, BudgetedSession
from comfywatchman.readiness.search.factory import civitai_of
from comfywatchman.sources.civitai.client import CivitaiHit
from comfywatchman.sources.urls import civitai_page


class Identity(msgspec.Struct, frozen=True):
    """A file on Civitai that bears a SHA-256; null where Civitai does not say.

    Attributes:
        name: What the file is called there.
        model: The model it belongs to.
        version: Its version of that model.
        type: Civitai's word for the model (`LORA`, `Checkpoint`, …).
        base_model: The family it belongs to.
        page: Where people read about it.
        model_id: Number of the model.
        version_id: Number of the version.
    """

    name: str
    model: str | None
    version: str | None
    type: str | None
    base_model: str | None
    page: str | None
    model_id: int | None
    version_id: int


@dataclass(frozen=True, slots=True)
class Identities:
    """What came of asking.

    Attributes:
        known: The files that bear a hash, by lower-case SHA-256.
        failure: Why a hash that is not in `known` may be known there all the same; None when it is not.
    """

    known: dict[str, tuple[Identity, ...]]
    failure: Failure | None


def ask_what_they_are(digests: Iterable[str], settings: Settings, clock: Clock) -> Identities:
    """Ask Civitai which files bear SHA-256 hashes, a hundred with each request; nobody's trouble raises.

    Args:
        digests: Lower-case SHA-256 hashes.
        settings: Where Civitai is, and the account's key.
        clock: For the patience with a server.
    """
    with BudgetedSession(Budget(clock), timeout_seconds=settings.search.timeout_seconds) as session:
        answer = civitai_of(settings, session).identify(digests)
    known = {digest: tuple(dict.fromkeys(map(_identity, hits))) for digest, hits in answer.hits.items()}
    return Identities(known, answer.failure)


def _identity(hit: CivitaiHit) -> Identity:
    version = hit.version
    return Identity(
        name=hit.file.name,
        model=version.model.name if version.model is not None else None,
        version=version.name,
        type=version.model_type,
        base_model=version.base_model,
        page=civitai_page(hit.base_url, version.model_id, version.id) if version.model_id else None,
        model_id=version.model_id or None,
        version_id=version.id,
    )
