"""Fetching what a plan or the queue holds: several files at once, each outcome written down as it comes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec

from comfywatchman.base.address import parse_address
from comfywatchman.base.clock import Clock
from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.settings import Settings
from comfywatchman.base.stop import StopEvent
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.downloads.links import link_file
from comfywatchman.readiness.downloads.pickles import build_file_check
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, PlanRules, check_item, reason_not_automatic
from comfywatchman.readiness.downloads.queue import DownloadOutcome, add_items, queue_file, record_outcomes
from comfywatchman.readiness.downloads.target import Target, decide_target, open_folder
from comfywatchman.readiness.models.inventory import ModelFile
from comfywatchman.sources.download.attempt import Downloader
from comfywatchman.sources.download.fetch import download_file
from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, DownloadLimits
from comfywatchman.sources.download.redirects import HostPolicy
from comfywatchman.sources.download.retry import RetryPolicy
from comfywatchman.sources.download.target import DownloadRequest, find_existing_file
from comfywatchman.sources.urls import CIVITAI_HOSTS, HUGGING_FACE_HOSTS

_POLL_SECONDS: Final = 0.2
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


class DownloadWatcher(Protocol):
    """Whoever shows how far downloads are; called from several threads."""

    def update(self, item: PlanItem, have: int, total: int | None) -> None:
        """Note how many bytes of an item are there, of how many (None when nobody knows)."""

    def finish(self, outcome: DownloadOutcome) -> None:
        """Note what came of an item."""


@dataclass(frozen=True)
class DownloadContext:
    """What a run of downloads works with.

    Attributes:
        home: Where queue and locks are kept.
        settings: The effective settings.
        folders: The model folders of this ComfyUI.
        clock: The clock.
        stop: Given when the person wants to stop.
        watcher: Shows how far it is.
        here: Files of this host by SHA-256, to be linked instead of fetched.
        patience: How long trouble is borne.
    """

    home: Home
    settings: Settings
    folders: ModelFolders
    clock: Clock
    stop: StopEvent
    watcher: DownloadWatcher
    here: Mapping[str, ModelFile] = field(default_factory=dict)
    patience: RetryPolicy | None = None

    @property
    def rules(self) -> PlanRules:
        """What plans are held against."""
        same = {sha256: file.path for sha256, file in self.here.items()}
        return build_plan_rules(self.settings, self.folders, same)


def build_allowlist(settings: Settings) -> HostPolicy:
    """Return where downloads may begin, and which key goes where."""
    section, secrets = settings.downloads, settings.secrets
    local = set(section.local_hosts)
    tokens = {f"https://{host}": secrets.civitai_api_key for host in CIVITAI_HOSTS}
    tokens |= {f"https://{host}": secrets.hf_token for host in HUGGING_FACE_HOSTS}
    own = (
        (settings.search.civitai_url, secrets.civitai_api_key),
        (settings.search.civitai_fallback_url, secrets.civitai_api_key),
        (settings.search.huggingface_url, secrets.hf_token),
    )
    for url, token in own:
        if not url:
            continue
        place = parse_address(url)
        if place.netloc not in CIVITAI_HOSTS | HUGGING_FACE_HOSTS:
            # A mirror that the configuration names is trusted like what it stands for.
            local.add(place.netloc)
            tokens[place.origin] = token
    return HostPolicy(frozenset(section.hosts), frozenset(local), tokens)


def build_plan_rules(settings: Settings, folders: ModelFolders, same_bytes: Mapping[str, str]) -> PlanRules:
    """Return what plans are held against.

    Args:
        settings: The effective settings.
        folders: The model folders of this ComfyUI.
        same_bytes: Files of this host by SHA-256.
    """
    section = settings.downloads
    return PlanRules(
        folders=folders,
        allowed=build_allowlist(settings),
        allow_pickle=section.allow_pickle,
        same_bytes={} if section.link == "off" else same_bytes,
        disk_of=find_disk,
    )


def find_disk(directory: Path) -> tuple[str, int]:
    """Return what equal disks share, and the free bytes, of the nearest folder that exists."""
    while not os.path.exists(directory) and directory != directory.parent:
        directory = directory.parent
    found = os.statvfs(directory)
    return f"{directory.stat().st_dev}", found.f_bavail * found.f_frsize


def run_downloads(items: Sequence[PlanItem], work: DownloadContext) -> tuple[DownloadOutcome, ...]:
    """Put items into the queue and fetch them; each outcome is in the queue before the next begins in its place.

    Args:
        items: What to fetch; each is held against the present rules once more.
        work: What the run works with.

    Returns:
        One outcome for each item, in their order. One that was stopped before it began has the code
        `download-stopped` and stays in the queue like all others that may be continued.

    Raises:
        Failure: `state-unwritable` when the queue cannot be kept.
    """
    distinct = {item.id: item for item in items}
    path = queue_file(work.home)
    add_items(path, distinct.values(), clock=work.clock)
    outcomes: dict[str, DownloadOutcome] = {}
    section = work.settings.downloads
    patience = work.patience or RetryPolicy(stall_seconds=section.stall_seconds)
    local = build_allowlist(work.settings).local_hosts
    with (
        ConnectionPool(stall_seconds=patience.stall_seconds, may_be_private=local.__contains__) as connections,
        ThreadPoolExecutor(section.parallel, thread_name_prefix="download") as threads,
    ):
        one = _ItemDownloader(work, patience, connections)
        waiting = {threads.submit(one.outcome, item) for item in distinct.values()}
        try:
            while waiting:
                ended, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                _record_finished(ended, outcomes, work, path)
                if work.stop.is_set():
                    connections.abort()
        except BaseException:
            work.stop.set()
            connections.abort()
            raise
    return tuple(outcomes[key] for key in distinct)


def _record_finished(
    ended: Iterable[Future[DownloadOutcome]], outcomes: dict[str, DownloadOutcome], work: DownloadContext, path: Path
) -> None:
    fresh = [future.result() for future in ended]
    if fresh:
        record_outcomes(path, fresh, clock=work.clock)
        outcomes.update({outcome.id: outcome for outcome in fresh})
        for outcome in fresh:
            work.watcher.finish(outcome)


class _ItemDownloader:
    """Fetches single items; used by several threads at once."""

    def __init__(self, work: DownloadContext, patience: RetryPolicy, connections: ConnectionPool) -> None:
        section = work.settings.downloads
        self._work = work
        self._patience = patience
        self._connections = connections
        self._rules = work.rules
        self._check = build_file_check(allow_pickle=section.allow_pickle)
        self._bandwidth = Bandwidth(section.max_mib_per_second * _MIB, work.clock.monotonic)
        self._room = DiskReservation(int(section.keep_free_gb * _GIB))

    def outcome(self, item: PlanItem) -> DownloadOutcome:
        """Fetch or link one item; whatever is expected to go wrong becomes part of the outcome."""
        began = self._work.clock.monotonic()
        try:
            found = self._placed(item, self._target(item))
        except Failure as failure:
            found = DownloadOutcome(
                item.id,
                item.filename,
                check_item(item, self._rules).target,
                code=failure.code,
                message=failure.message,
                hint=failure.hint,
            )
        return msgspec.structs.replace(found, seconds=round(self._work.clock.monotonic() - began, 3))

    def _target(self, item: PlanItem) -> Target:
        if self._work.stop.is_set():
            raise Failure(
                "download-stopped",
                "The downloads were stopped before this one began; it waits in the queue.",
                hint="Run the same command again.",
            )
        now = check_item(item, self._rules)
        if now.blocked is not None:
            raise Failure(now.code or "download-plan-invalid", now.blocked)
        return decide_target(item.filename, item.folder, self._work.folders)

    def _placed(self, item: PlanItem, target: Target) -> DownloadOutcome:
        lock = _lock_path(self._work.home, target)
        with (
            hold_lock(lock, command=f"download {item.filename[:200]}", clock=self._work.clock),
            open_folder(target) as folder,
        ):
            wanted = DownloadRequest(target.name, item.url, item.size, item.sha256)
            source = self._rules.same_bytes and self._work.here.get(item.sha256 or "")
            if source and find_existing_file(wanted, folder, may_go_on=self._may_go_on) is None:
                way = self._work.settings.downloads.link
                if link_file(source, folder, target.name, way=way, check=self._check):
                    return _build_linked_outcome(item, target, source)
            return self._fetched(item, target, wanted, folder)

    def _fetched(self, item: PlanItem, target: Target, wanted: DownloadRequest, folder: int) -> DownloadOutcome:
        work = self._work
        limits = DownloadLimits(
            wait=work.stop.wait,
            bandwidth=self._bandwidth,
            disk=self._room,
            report_progress=lambda have, total: work.watcher.update(item, have, total),
            monotonic=work.clock.monotonic,
        )
        downloader = Downloader(self._connections, self._rules.allowed, self._patience, limits, work.clock.now)
        got = download_file(wanted, folder, downloader, check=self._check, boot_id=work.clock.boot_id())
        return DownloadOutcome(
            item.id,
            item.filename,
            printable_path(target.path),
            how="there" if got.was_there else "downloaded",
            size=got.size,
            sha256=got.sha256,
            received_bytes=got.received_bytes,
            resumed_from=got.resumed_from,
        )

    def _may_go_on(self) -> bool:
        return not self._work.stop.is_set()


def _build_linked_outcome(item: PlanItem, target: Target, source: ModelFile) -> DownloadOutcome:
    return DownloadOutcome(
        item.id, item.filename, printable_path(target.path), how="linked", size=source.size, sha256=item.sha256,
        message=f"Linked to {printable_path(source.path)}.",
    )  # fmt: skip


def _lock_path(home: Home, target: Target) -> Path:
    """Return the lock of a target: one downloader for each, whatever address it uses and however it is spelt."""
    place = os.path.realpath(target.directory) + "/" + "/".join((*target.below, target.name))
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:24]
    return home.state / "downloads" / f"{digest}.lock"


def split_plan(plan: DownloadPlan) -> tuple[tuple[PlanItem, ...], tuple[tuple[PlanItem, str], ...]]:
    """Return what may be fetched at once, and what waits for a person with the reason. Pure."""
    reasons = [(item, reason_not_automatic(item)) for item in plan.items]
    taken = tuple(item for item, reason in reasons if reason is None)
    return taken, tuple((item, reason) for item, reason in reasons if reason is not None)


def download_automatically(plan: DownloadPlan, work: DownloadContext) -> tuple[DownloadOutcome, ...]:
    """Fetch what a plan allows to be fetched without a person; for cycles with `--auto-download`.

    Raises:
        Failure: `state-unwritable` when the queue cannot be kept.
    """
    taken, _waiting = split_plan(plan)
    return run_downloads(taken, work) if taken else ()
