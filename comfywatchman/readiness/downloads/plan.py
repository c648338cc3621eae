"""The download plan: what would be fetched, from where, into which folder. Pure; a person reviews it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.downloads.target import decide_target
from comfywatchman.readiness.search.results import NO_HUB_IDS, HubIds, SearchResult, SearchStatus
from comfywatchman.sources.download.redirects import HostPolicy, reason_to_refuse_start
from comfywatchman.sources.file_names import MODEL_EXTENSIONS, PICKLE_EXTENSIONS, extension

SCHEMA_VERSION: Final = 1
_Bytes = Annotated[int, msgspec.Meta(ge=0)]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class PlanItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model to fetch.

    Attributes:
        filename: As the workflow names it; the file gets this name.
        folder: What its loader reads; decides the directory.
        url: Where it is fetched from.
        size: In bytes; null when its hub does not say it exactly.
        about_bytes: About how large it is, where that is all that its hub says.
        sha256: Lower-case hex; null when nobody gave it, and then only its header is checked.
        source: `huggingface`, `civitai`, or another host.
        ids: What names it on its hub.
        licence: Of the model, when known.
        base_model: The family it belongs to, when known.
        target: Where it will be, for people; worked out again before anything is written.
        same_as: A file of this host with the same bytes, which is linked instead; null when there is none.
        blocked: Why it cannot be fetched as things stand, in words; null when it can.
        code: Of that reason; see docs/reference/failures.md.
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
        """How much room it takes, as far as that is known."""
        return self.size or self.about_bytes or 0

    @property
    def id(self) -> str:
        """What names it in the queue: another file, folder or origin is another item."""
        parts = (self.folder or "", self.filename, self.sha256 or self.url)
        return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


class PlanDisk(msgspec.Struct, frozen=True):
    """A disk that the plan writes to: a folder on it, free bytes now, and what would be free afterwards."""

    folder: str
    free_bytes: int
    free_after_bytes: int


class DownloadPlan(msgspec.Struct, frozen=True):
    """`output/plans/<cycle>.json`.

    Attributes:
        cycle: Id of the cycle that made it.
        made_at: UTC.
        items: What would be fetched, in the order of folders and names, blocked ones included.
        total_bytes: Of what would be fetched, as far as sizes are known.
        disks: The disks that would be written to.
        to_choose: Missing models with several candidates: `comfywatchman resolve --choose` decides.
        schema_version: 1.
    """

    cycle: str
    made_at: str
    items: tuple[PlanItem, ...]
    total_bytes: int
    disks: tuple[PlanDisk, ...] = ()
    to_choose: tuple[str, ...] = ()
    schema_version: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class PlanRules:
    """What a plan is held against.

    Attributes:
        folders: The model folders of this ComfyUI.
        allowed: Where downloads may begin.
        allow_pickle: Whether files that can run code may be fetched.
        same_bytes: A file of this host by SHA-256; empty when links are off.
        disk_of: Tells the disk of a directory (any name that equal disks share) and its free bytes.
    """

    folders: ModelFolders
    allowed: HostPolicy
    allow_pickle: bool
    same_bytes: Mapping[str, str]
    disk_of: Callable[[Path], tuple[str, int]]


def build_plan(results: Iterable[SearchResult], rules: PlanRules, *, cycle: str, made_at: str) -> DownloadPlan:
    """Make the plan for what a search has found.

    Args:
        results: Answers; only those that are FOUND become items.
        rules: What they are held against.
        cycle: Id of the cycle.
        made_at: Now, as state files write it.
    """
    answers = list(results)
    found = {item.id: item for item in (build_item(one, rules) for one in answers) if item is not None}
    doubted = [one.filename for one in answers if one.status is SearchStatus.UNCERTAIN and one.candidates]
    items = tuple(sorted(found.values(), key=lambda item: (item.folder or "", item.filename)))
    return DownloadPlan(
        cycle=cycle,
        made_at=made_at,
        items=items,
        total_bytes=sum(item.likely_bytes for item in items if will_fetch(item)),
        disks=_sum_disks(items, rules),
        to_choose=tuple(sorted(set(doubted))),
    )


def build_item(result: SearchResult, rules: PlanRules) -> PlanItem | None:
    """Return the item of one answer; None unless it is FOUND at an address."""
    if result.status is not SearchStatus.FOUND or result.url is None:
        return None
    best = next((one for one in result.candidates if one.sha256 == result.sha256), None)
    item = PlanItem(
        filename=_complete_file_name(result.filename, best.name if best is not None else ""),
        folder=result.type,
        url=result.url,
        size=result.size,
        sha256=result.sha256,
        source=result.source,
        ids=result.ids,
        base_model=result.base_model,
        about_bytes=max(0, best.size or 0) or None if best is not None and result.size is None else None,
    )
    return check_item(item, rules)


def check_item(item: PlanItem, rules: PlanRules) -> PlanItem:
    """Return an item with its target, and with what blocks it or makes a download needless as of now."""
    bare = msgspec.structs.replace(item, target=None, same_as=None, blocked=None, code=None)
    try:
        target = decide_target(item.filename, item.folder, rules.folders)
    except Failure as failure:
        return msgspec.structs.replace(bare, blocked=failure.message, code=failure.code)
    placed = msgspec.structs.replace(
        bare, target=printable_path(target.path), same_as=rules.same_bytes.get(item.sha256 or "")
    )
    reason = reason_to_refuse_start(item.url, rules.allowed)
    if reason is not None:
        return msgspec.structs.replace(
            placed, blocked=f"Its address is refused: {reason}.", code="download-host-refused"
        )
    if extension(target.name) in PICKLE_EXTENSIONS and not rules.allow_pickle:
        words = "Files of this kind can run code, and [downloads] allow_pickle is off."
        return msgspec.structs.replace(placed, blocked=words, code="download-pickle-refused")
    return placed


def reason_not_automatic(item: PlanItem) -> str | None:
    """Say why an item waits for a person even with `--auto-download`; None when it may be fetched at once."""
    if item.blocked is not None:
        return item.blocked
    if item.sha256 is None:
        return "Nobody gave its hash, so nothing proves that it is the right file."
    if extension(item.filename) in PICKLE_EXTENSIONS:
        return "Files of this kind can run code; a person decides about each of them."
    return None


def select_items(plan: DownloadPlan, names: Sequence[str]) -> tuple[PlanItem, ...]:
    """Return the items of a plan that bear these names, whole or without folder.

    Raises:
        Failure: `download-plan-invalid` for a name that the plan does not hold.
    """
    found: dict[str, PlanItem] = {}
    for name in names:
        matching = [item for item in plan.items if name in _list_names(item)]
        if not matching:
            raise Failure(
                "download-plan-invalid",
                f"{printable_path(name)} is not in the plan of {plan.made_at}.",
                hint="comfywatchman download --list shows what is; a cycle or `comfywatchman resolve` looks for more.",
            )
        found |= {item.id: item for item in matching}
    return tuple(found.values())


def will_fetch(item: PlanItem) -> bool:
    """Say whether an item means a download, as things stand."""
    return item.blocked is None and item.same_as is None


def _sum_disks(items: Iterable[PlanItem], rules: PlanRules) -> tuple[PlanDisk, ...]:
    needed: dict[str, int] = {}
    free: dict[str, tuple[str, int]] = {}
    for item in filter(will_fetch, items):
        directory = decide_target(item.filename, item.folder, rules.folders).directory
        disk, free_bytes = rules.disk_of(directory)
        needed[disk] = needed.get(disk, 0) + item.likely_bytes
        free.setdefault(disk, (printable_path(directory), free_bytes))
    return tuple(PlanDisk(free[disk][0], free[disk][1], free[disk][1] - needed[disk]) for disk in sorted(needed))


def _complete_file_name(name: str, there: str) -> str:
    """Return the name of a file that a workflow names without its ending, as it does with embeddings."""
    known = extension(name) in MODEL_EXTENSIONS or extension(there) not in MODEL_EXTENSIONS
    return name if known else name + extension(there)


def _list_names(item: PlanItem) -> set[str]:
    names = {item.filename, _last_part(item.filename)}
    if item.folder == "embeddings":
        names |= {name.removesuffix(extension(name)) for name in names}
    return names


def _last_part(filename: str) -> str:
    return filename.replace("\\", "/").rpartition("/")[2]
