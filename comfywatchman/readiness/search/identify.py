"""What files of this host are, asked of Civitai by their hashes. Nothing is kept, and nothing of a file is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.search.budget import BudgetedSession, SearchBudget
from comfywatchman.readiness.search.factory import build_civitai
from comfywatchman.sources.civitai.client import CivitaiHit
from comfywatchman.sources.urls import build_civitai_page_url


class ModelIdentity(msgspec.Struct, frozen=True):
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
class ModelIdentities:
    """What came of asking.

    Attributes:
        known: The files that bear a hash, by lower-case SHA-256.
        failure: Why a hash that is not in `known` may be known there all the same; None when it is not.
    """

    known: dict[str, tuple[ModelIdentity, ...]]
    failure: Failure | None


def identify_files(digests: Iterable[str], settings: Settings, clock: Clock) -> ModelIdentities:
    """Ask Civitai which files bear SHA-256 hashes, a hundred with each request; nobody's trouble raises.

    Args:
        digests: Lower-case SHA-256 hashes.
        settings: Where Civitai is, and the account's key.
        clock: For the patience with a server.
    """
    with BudgetedSession(SearchBudget(clock), timeout_seconds=settings.search.timeout_seconds) as session:
        answer = build_civitai(settings, session).identify(digests)
    known = {digest: tuple(dict.fromkeys(map(_build_identity, hits))) for digest, hits in answer.hits.items()}
    return ModelIdentities(known, answer.failure)


def _build_identity(hit: CivitaiHit) -> ModelIdentity:
    version = hit.version
    return ModelIdentity(
        name=hit.file.name,
        model=version.model.name if version.model is not None else None,
        version=version.name,
        type=version.model_type,
        base_model=version.base_model,
        page=build_civitai_page_url(hit.base_url, version.model_id, version.id) if version.model_id else None,
        model_id=version.model_id or None,
        version_id=version.id,
    )
