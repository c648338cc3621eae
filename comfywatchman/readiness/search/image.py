"""Asking Civitai for a picture, and holding what it was made with against this host. Nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

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
"""How many models of one picture are looked at; each may cost a request."""

_SETTING_NAMES: Final = (
    "sampler", "scheduler", "Schedule type", "steps", "cfgScale", "denoise", "seed", "Size", "clipSkip", "Clip skip",
)  # fmt: skip
_MAX_NUMBER: Final = 1 << 64
_TRANSIENT_CODES: Final = frozenset({"http-unreachable", "http-body", "source-unavailable"})


class CivitaiPicture(msgspec.Struct, frozen=True):
    """What a picture was made with.

    Attributes:
        id: Its number on Civitai.
        models: In the picture's order.
        settings: Sampler, steps and the like, under the names that the picture has.
        has_metadata: Whether Civitai shows anything of its making.
        has_workflow: Whether a workflow of ComfyUI that can be read is in its metadata.
    """

    id: int
    models: tuple[UsedModel, ...]
    settings: dict[str, str | int | float]
    has_metadata: bool
    has_workflow: bool


@dataclass(frozen=True, slots=True)
class ImageLookup:
    """What came of asking for a picture.

    Attributes:
        answer: Whether Civitai has it.
        picture: None unless it has.
        problems: What could not be found out, in words.
        workflow: The picture's workflow as a file holds it; None without one.
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
    """Ask Civitai for a picture and hold the models it was made with against this host.

    Args:
        image_id: The picture.
        settings: Where Civitai is, and the account's key.
        host: What this host has; None when there is nothing to compare with.
        clock: For the patience with a server.

    Raises:
        Failure: Civitai did not answer for the picture, or refused.
    """
    with BudgetedSession(SearchBudget(clock), timeout_seconds=settings.search.timeout_seconds) as session:
        civitai = build_civitai(settings, session)
        answer = _fetch_image(session, image_id, civitai.base_urls, settings.secrets.civitai_api_key or None)
        if answer.item is None:
            return ImageLookup(answer)
        resources = merge_resources(list_image_resources(answer.item))
        problems = [f"The picture names {len(resources)} models; the first {MAX_RESOURCES} are shown."]
        problems = problems if len(resources) > MAX_RESOURCES else []
        known = [(one, _fetch_version(civitai, one, host, problems)) for one in resources[:MAX_RESOURCES]]
    models = tuple(compare_with_host(one, version, host) for one, version in match_versions(known))
    meta = get_image_meta(answer.item)
    workflow = extract_workflow(meta)
    picture = CivitaiPicture(image_id, models, _read_settings(meta), bool(meta), workflow is not None)
    return ImageLookup(answer, picture, tuple(dict.fromkeys(problems)), workflow)


def _fetch_image(
    session: BudgetedSession, image_id: int, base_urls: Sequence[str], token: str | None
) -> CivitaiImageResult:
    """Ask one server after the other; a failed one keeps a picture that no other has from being NOT_FOUND."""
    failure: Failure | None = None
    answers = []
    for base_url in base_urls:
        try:
            answer = fetch_civitai_image(session, image_id, base_url=base_url, token=token)
        except Failure as caught:
            if caught.code not in _TRANSIENT_CODES:
                raise
            failure = failure or caught
        else:
            if answer.item is not None:
                return answer
            answers.append(answer)
    if failure is not None:
        raise failure
    return answers[0]


def _fetch_version(
    civitai: Civitai, one: ImageResource, host: HostModels | None, problems: list[str]
) -> CivitaiVersion | None:
    """Ask for the version of a model, unless it is already known to be here; what fails is told in `problems`."""
    if host is not None and one.hash in host.by_digest:
        return None
    try:
        if one.version_id is not None:
            answer = civitai.fetch_version(one.version_id)
            return answer[1] if answer is not None else None
        named = civitai.find_by_hash(one.hash) if one.hash else None
    except Failure as failure:
        problems.append(failure.message)
        return None
    return named.version if named is not None and named.hit is not None else None


def _read_settings(meta: Mapping[str, Any]) -> dict[str, str | int | float]:
    told = {name: meta.get(name) for name in _SETTING_NAMES}
    return {
        name: to_one_line(value) if isinstance(value, str) else value
        for name, value in told.items()
        if _is_setting_value(value)
    }


def _is_setting_value(value: object) -> TypeGuard[str | int | float]:
    if isinstance(value, (int, float)):
        return -_MAX_NUMBER < value < _MAX_NUMBER  # neither NaN nor what JSON's readers cannot hold
    return isinstance(value, str) and bool(value.strip())
