"""The download plan: which models, from where, into which folder, and the disk space. Pure; a person reviews it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.readiness.downloads.target import decide_target
from comfywatchman.readiness.search.results import NO_HUB_IDS, HubIds, SearchResult, SearchStatus
from comfywatchman.sources.download.redirects import HostPolicy, reason_to_refuse_start
from comfywatchman.sources.file_names import MODEL_EXTENSIONS, PICKLE_EXTENSIONS, base_name, extension

SCHEMA_VERSION: Final = 1
_Bytes = Annotated[int, msgspec.Meta(ge=0)]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class PlanItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model to download.

    Attributes:
        filename: As the workflow names it; the file gets this name.
        folder: Model folder of the loader; decides the directory.
        url: Download URL.
        size: In bytes; null if the hub does not state it exactly.
        about_bytes: Approximate size, if the hub states no more.
        sha256: Lower-case hex; null if unknown, so that only the header can be checked.
        source: `huggingface`, `civitai`, or another host.
        ids: Ids of the file on its hub.
        licence: Licence of the model, if known.
        base_model: Model family, if known.
        target: Path of the file, for people; decided again before anything is written.
        same_as: A file of this host with the same bytes, which is linked instead; null if there is none.
        blocked: Why it cannot be downloaded at present, for people; null if it can.
        code: Failure code of that reason; see docs/reference/failures.md.
    """

    filename: str
    folder: str | None
    url: str
    size: _Bytes | None = None
    sha256: _Sha256 | None = None
    source: str | None = None
    ids: HubIds = NO_HUB_IDS
    licence: str | None = None
    base_model: str | None = None
    target: str | None = None
    same_as: str | None = None
    blocked: str | None = None
    code: str | None = None
    about_bytes: _Bytes | None = None

    @property
    def likely_bytes(self) -> int:
        """Size as far as it is known; 0 if unknown."""
        return self.size or self.about_bytes or 0

    @property
    def id(self) -> str:
        """Key in the queue: the same name with another folder, hash or URL is another item."""
        parts = (self.folder or "", self.filename, self.sha256 or self.url)
        return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


class PlanDisk(msgspec.Struct, frozen=True):
    """A disk that the plan writes to: a folder on it, its free bytes now, and after all downloads."""

    folder: str
    free_bytes: int
    free_after_bytes: int


class DownloadPlan(msgspec.Struct, frozen=True):
    """`output/plans/<cycle>.json`.

    Attributes:
        cycle: Id of the cycle that wrote it.
        made_at: UTC.
        items: Models to download, sorted by folder and name, blocked ones included.
        total_bytes: Total size of the downloads, as far as sizes are known.
        disks: The disks that would be written to.
        to_choose: Missing models with candidates that can be chosen: `comfywatchman resolve --choose` decides.
        schema_version: 1.
        comfyui: The ComfyUI whose missing models it lists; null in plans of older versions.
    """

    cycle: str
    made_at: str
    items: tuple[PlanItem, ...]
    total_bytes: int
    disks: tuple[PlanDisk, ...] = ()
    to_choose: tuple[str, ...] = ()
    schema_version: Literal[1] = 1
    comfyui: ComfyUIIdentity | None = None


@dataclass(frozen=True, slots=True)
class PlanRules:
    """The rules that items are checked against.

    Attributes:
        folders: The model folders of this ComfyUI.
        allowed: Hosts from which downloads may start.
        allow_pickle: Whether files that can run code may be downloaded.
        local_copies: Paths of this host's files by SHA-256; empty if links are off.
        find_disk: Returns an id of the disk of a directory, and its free bytes.
    """

    folders: ModelFolders
    allowed: HostPolicy
    allow_pickle: bool
    local_copies: Mapping[str, str]
    find_disk: Callable[[Path], tuple[str, int]]


def build_plan(
    results: Iterable[SearchResult],
    rules: PlanRules,
    *,
    cycle: str,
    made_at: str,
    comfyui: ComfyUIIdentity | None = None,
) -> DownloadPlan:
    """Return the plan for search results.

    Args:
        results: Results of a search; only FOUND ones become items.
        rules: The rules to check items against.
        cycle: Id of the cycle.
        made_at: Present time, as state files write it.
        comfyui: The watched ComfyUI.
    """
    by_id: dict[str, PlanItem] = {}
    to_choose = set()
    for result in results:
        item = build_item(result, rules)
        if item is not None:
            by_id[item.id] = item
        elif result.status is SearchStatus.UNCERTAIN and result.has_choice:
            to_choose.add(result.filename)
    items = sorted(by_id.values(), key=lambda item: (item.folder or "", item.filename))
    return DownloadPlan(
        cycle=cycle,
        made_at=made_at,
        items=tuple(items),
        total_bytes=sum(item.likely_bytes for item in items if needs_download(item)),
        disks=_sum_disks(items, rules),
        to_choose=tuple(sorted(to_choose)),
        comfyui=comfyui,
    )


def build_item(result: SearchResult, rules: PlanRules) -> PlanItem | None:
    """Return the item for a search result; None unless it is FOUND with a URL."""
    if result.status is not SearchStatus.FOUND or result.url is None:
        return None
    proof = None
    for candidate in result.candidates:
        if candidate.sha256 == result.sha256:
            proof = candidate
            break
    about_bytes = None
    if proof is not None and proof.size is not None and proof.size > 0 and result.size is None:
        about_bytes = proof.size
    item = PlanItem(
        filename=_complete_file_name(result.filename, proof.name if proof is not None else ""),
        folder=result.type,
        url=result.url,
        size=result.size,
        sha256=result.sha256,
        source=result.source,
        ids=result.ids,
        licence=proof.details.licence if proof is not None else None,
        base_model=result.base_model,
        about_bytes=about_bytes,
    )
    return check_item(item, rules)


def check_item(item: PlanItem, rules: PlanRules) -> PlanItem:
    """Return an item with its present target, and with a local copy or a reason that blocks it, if there is one."""
    bare = msgspec.structs.replace(item, target=None, same_as=None, blocked=None, code=None)
    try:
        target = decide_target(item.filename, item.folder, rules.folders)
    except Failure as failure:
        return msgspec.structs.replace(bare, blocked=failure.message, code=failure.code)
    local_copy = rules.local_copies.get(item.sha256 or "")
    checked = msgspec.structs.replace(bare, target=printable_path(target.path), same_as=local_copy)
    reason = reason_to_refuse_start(item.url, rules.allowed)
    if reason is not None:
        blocked = f"Its URL is refused: {reason}."
        return msgspec.structs.replace(checked, blocked=blocked, code="download-host-refused")
    if extension(target.name) in PICKLE_EXTENSIONS and not rules.allow_pickle:
        blocked = "Files of this kind can run code, and [downloads] allow_pickle is off."
        return msgspec.structs.replace(checked, blocked=blocked, code="download-pickle-refused")
    return checked


def reason_not_automatic(item: PlanItem) -> str | None:
    """Return why an item waits for a person even with `--auto-download`; None if it may be downloaded."""
    if item.blocked is not None:
        return item.blocked
    if item.sha256 is None:
        return "Its hash is unknown, so nothing proves that it is the right file."
    if extension(item.filename) in PICKLE_EXTENSIONS:
        return "Files of this kind can run code; a person decides about each of them."
    return None


def match_items(plan: DownloadPlan, name: str) -> tuple[PlanItem, ...]:
    """Return the items of a plan with a name: whole, without its subfolders, or behind its model folder."""
    return tuple(item for item in plan.items if name in _list_names(item))


def needs_download(item: PlanItem) -> bool:
    """Return whether an item would be downloaded: it is neither blocked nor linked to a local copy."""
    return item.blocked is None and item.same_as is None


def _sum_disks(items: Iterable[PlanItem], rules: PlanRules) -> tuple[PlanDisk, ...]:
    """Return the free bytes of each disk, before and after all downloads."""
    disks: dict[str, PlanDisk] = {}
    for item in items:
        if not needs_download(item):
            continue
        directory = decide_target(item.filename, item.folder, rules.folders).directory
        disk_id, free_bytes = rules.find_disk(directory)
        disk = disks.get(disk_id) or PlanDisk(printable_path(directory), free_bytes, free_bytes)
        free_after = disk.free_after_bytes - item.likely_bytes
        disks[disk_id] = msgspec.structs.replace(disk, free_after_bytes=free_after)
    return tuple(disks[disk_id] for disk_id in sorted(disks))


def _complete_file_name(filename: str, name_on_hub: str) -> str:
    """Add the extension that workflows leave out of the names of embeddings."""
    hub_extension = extension(name_on_hub)
    if extension(filename) in MODEL_EXTENSIONS or hub_extension not in MODEL_EXTENSIONS:
        return filename
    return filename + hub_extension


def _list_names(item: PlanItem) -> set[str]:
    """Return the names by which a person may select an item."""
    names = {item.filename, base_name(item.filename), f"{item.folder}/{item.filename}"}
    if item.folder == "embeddings":
        names |= {name.removesuffix(extension(name)) for name in names}
    return names
