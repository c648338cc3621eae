"""Looks up model files of this host on Civitai by hash. Only hashes are sent, and nothing is cached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.search.budget import BudgetedSession, SearchBudget
from comfywatchman.readiness.search.factory import build_civitai
from comfywatchman.sources.civitai.lookups import CivitaiHit
from comfywatchman.sources.urls import build_civitai_page_url


class ModelIdentity(msgspec.Struct, frozen=True):
    """A file on Civitai with a known SHA-256; fields are null if Civitai does not state them.

    Attributes:
        name: File name on Civitai.
        model: Name of the model.
        version: Name of the model version.
        type: Civitai's type of the model (`LORA`, `Checkpoint`, …).
        base_model: Model family.
        page: URL of the model page.
        model_id: Id of the model.
        version_id: Id of the version.
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
    """Identified files, and whether the list is complete.

    Attributes:
        known: Files on Civitai by lower-case SHA-256.
        failure: Why Civitai may know hashes that are not in `known`; None if `known` is complete.
    """

    known: dict[str, tuple[ModelIdentity, ...]]
    failure: Failure | None


def identify_files(digests: Iterable[str], settings: Settings, clock: Clock) -> ModelIdentities:
    """Look up SHA-256 hashes on Civitai, a hundred per request. Failures are returned, not raised.

    Args:
        digests: Lower-case SHA-256 hashes.
        settings: URL of Civitai, and the key of the account.
        clock: For timeouts.
    """
    with BudgetedSession(SearchBudget(clock), timeout_seconds=settings.search.timeout_seconds) as session:
        found = build_civitai(settings, session).identify(digests)
    known: dict[str, tuple[ModelIdentity, ...]] = {}
    for digest, hits in found.hits.items():
        identities = [_build_identity(hit) for hit in hits]
        known[digest] = tuple(dict.fromkeys(identities))
    return ModelIdentities(known, found.failure)


def _build_identity(hit: CivitaiHit) -> ModelIdentity:
    version = hit.version
    has_model_id = bool(version.model_id)
    return ModelIdentity(
        name=hit.file.name,
        model=version.model.name if version.model is not None else None,
        version=version.name,
        type=version.model_type,
        base_model=version.base_model,
        page=build_civitai_page_url(hit.base_url, version.model_id, version.id) if has_model_id else None,
        model_id=version.model_id or None,
        version_id=version.id,
    )
