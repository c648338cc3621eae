"""Looks up a picture on Civitai and compares the models it was made with to those of this host. Nothing is cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.database import open_memory_copy
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import build_inventory
from comfywatchman.readiness.models.scan import scan_models
from comfywatchman.readiness.search.budget import BudgetedSession, SearchBudget
from comfywatchman.readiness.search.factory import build_civitai
from comfywatchman.readiness.search.image_models import (
    HostModels,
    ResourceVersion,
    UsedModel,
    compare_with_host,
    index_host_models,
    match_versions,
    merge_resources,
)
from comfywatchman.readiness.search.image_workflow import extract_workflow
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.civitai.images import (
    CivitaiImageResult,
    ImageResource,
    fetch_civitai_image,
    get_image_meta,
    list_image_resources,
)
from comfywatchman.sources.civitai.schema import CivitaiVersion
from comfywatchman.sources.site_responses import to_one_line

MAX_RESOURCES: Final = 50
"""Models of one picture that are looked up; each may cost a request."""

_SETTING_NAMES: Final = (
    "sampler", "scheduler", "Schedule type", "steps", "cfgScale", "denoise", "seed", "Size", "clipSkip", "Clip skip",
)  # fmt: skip
_MAX_NUMBER: Final = 1 << 64
_TRANSIENT_CODES: Final = frozenset({"http-unreachable", "http-body", "source-unavailable"})


class CivitaiPicture(msgspec.Struct, frozen=True):
    """A picture on Civitai, with the models and settings it was made with.

    Attributes:
        id: Its id on Civitai.
        models: In the order of its metadata.
        settings: Sampler, steps and the like, under the names of its metadata.
        has_metadata: Whether Civitai shows any generation metadata.
        has_workflow: Whether the metadata contains a readable ComfyUI workflow.
    """

    id: int
    models: tuple[UsedModel, ...]
    settings: dict[str, str | int | float]
    has_metadata: bool
    has_workflow: bool


@dataclass(frozen=True, slots=True)
class ImageLookup:
    """The result of looking up a picture.

    Attributes:
        answer: Whether Civitai has it.
        picture: None unless Civitai has it.
        problems: Failed lookups of its models, for people.
        workflow: The content of its workflow file; None without a workflow.
    """

    answer: CivitaiImageResult
    picture: CivitaiPicture | None = None
    problems: tuple[str, ...] = ()
    workflow: bytes | None = None


def read_host_models(database: Path, folders: ModelFolders) -> HostModels:
    """List the models of this host, with the hashes of earlier cycles; nothing is written.

    Args:
        database: The index of earlier cycles.
        folders: The model folders of this ComfyUI.
    """
    with closing(open_memory_copy(database)) as copy:
        index = ModelIndex(copy)
        inventory = build_inventory(scan_models(folders), index)
        files = [file for models in inventory.folders.values() for file in models.values()]
        return index_host_models(files, index.hashes())


def look_up_image(image_id: int, settings: Settings, host: HostModels | None, clock: Clock) -> ImageLookup:
    """Look up a picture on Civitai and compare the models it was made with to those of this host.

    Args:
        image_id: The picture.
        settings: URL of Civitai, and the key of the account.
        host: Models of this host; None to compare nothing.
        clock: For timeouts.

    Raises:
        Failure: Civitai could not be reached, or refused.
    """
    with BudgetedSession(SearchBudget(clock), timeout_seconds=settings.search.timeout_seconds) as session:
        civitai = build_civitai(settings, session)
        answer = _fetch_image(session, image_id, civitai.base_urls, settings.secrets.civitai_api_key or None)
        if answer.item is None:
            return ImageLookup(answer)
        resources = merge_resources(list_image_resources(answer.item))
        problems = []
        if len(resources) > MAX_RESOURCES:
            problems.append(f"The picture names {len(resources)} models; the first {MAX_RESOURCES} are shown.")
        resolved = []
        for resource in resources[:MAX_RESOURCES]:
            version = None
            try:
                version = _fetch_version(civitai, resource, host)
            except Failure as failure:
                # Without its version, the model is compared by the metadata alone.
                problems.append(failure.message)
            resolved.append(ResourceVersion(resource, version))
    models = [compare_with_host(entry, host) for entry in match_versions(resolved)]
    meta = get_image_meta(answer.item)
    workflow = extract_workflow(meta)
    picture = CivitaiPicture(image_id, tuple(models), _read_settings(meta), bool(meta), workflow is not None)
    return ImageLookup(answer, picture, tuple(dict.fromkeys(problems)), workflow)


def _fetch_image(
    session: BudgetedSession, image_id: int, base_urls: Sequence[str], token: str | None
) -> CivitaiImageResult:
    """Request the picture from each server in turn, up to the first that has it.

    NOT_FOUND needs the answers of all: a picture may be on the server that failed.
    """
    first_failure: Failure | None = None
    answers = []
    for base_url in base_urls:
        try:
            answer = fetch_civitai_image(session, image_id, base_url=base_url, token=token)
        except Failure as failure:
            if failure.code not in _TRANSIENT_CODES:
                raise
            first_failure = first_failure or failure
        else:
            if answer.item is not None:
                return answer
            answers.append(answer)
    if first_failure is not None:
        raise first_failure
    return answers[0]


def _fetch_version(civitai: Civitai, resource: ImageResource, host: HostModels | None) -> CivitaiVersion | None:
    """Fetch the model version of a resource, unless its hash shows already that this host has it."""
    if host is not None and resource.hash in host.by_digest:
        return None
    if resource.version_id is not None:
        answer = civitai.fetch_version(resource.version_id)
        return answer[1] if answer is not None else None
    found = civitai.find_by_hash(resource.hash) if resource.hash else None
    # Civitai returns the version for short hashes too; only one with the very file is trusted.
    return found.version if found is not None and found.hit is not None else None


def _read_settings(meta: Mapping[str, Any]) -> dict[str, str | int | float]:
    settings: dict[str, str | int | float] = {}
    for name in _SETTING_NAMES:
        value = meta.get(name)
        if isinstance(value, str) and value.strip():
            settings[name] = to_one_line(value)
        elif isinstance(value, (int, float)) and -_MAX_NUMBER < value < _MAX_NUMBER:
            # The bounds exclude NaN, and numbers that JSON readers cannot hold.
            settings[name] = value
    return settings
