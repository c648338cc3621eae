"""Downloads or links one item of a plan, under the lock of its target."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec

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
from comfywatchman.readiness.downloads.plan import PlanItem, PlanRules, check_item
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from comfywatchman.readiness.downloads.rules import build_plan_rules
from comfywatchman.readiness.downloads.target import Target, decide_target, open_folder
from comfywatchman.readiness.models.inventory import ModelFile
from comfywatchman.sources.download.attempt import Downloader
from comfywatchman.sources.download.fetch import download_file
from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, DownloadLimits
from comfywatchman.sources.download.retry import RetryPolicy
from comfywatchman.sources.download.target import DownloadRequest, find_existing_file

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


class DownloadWatcher(Protocol):
    """Receives the progress of downloads; called from several threads."""

    def update(self, item: PlanItem, done: int, total: int | None) -> None:
        """Receive the number of bytes of an item so far, and of its whole (None if unknown)."""

    def finish(self, outcome: DownloadOutcome) -> None:
        """Receive the outcome of an item."""


@dataclass(frozen=True)
class DownloadContext:
    """Settings and host of a run of downloads.

    Attributes:
        home: Holds the queue and the locks.
        comfyui: Id of the ComfyUI that gets the models.
        settings: The effective settings.
        folders: The model folders of this ComfyUI.
        clock: The clock.
        stop: Set when a person wants to stop.
        watcher: Receives the progress.
        local_models: Model files of this host by SHA-256, to be linked instead of downloaded.
        retry_policy: Waits and retries; None for the configured ones.
    """

    home: Home
    comfyui: str
    settings: Settings
    folders: ModelFolders
    clock: Clock
    stop: StopEvent
    watcher: DownloadWatcher
    local_models: Mapping[str, ModelFile] = field(default_factory=dict)
    retry_policy: RetryPolicy | None = None

    @property
    def rules(self) -> PlanRules:
        """The rules that items are checked against."""
        local_copies = {sha256: file.path for sha256, file in self.local_models.items()}
        return build_plan_rules(self.settings, self.folders, local_copies)


class ItemDownloader:
    """Downloads single items; several threads share it, with its limits of bandwidth and disk space.

    Args:
        context: Settings and host.
        retry_policy: Waits and retries.
        connections: Connections of the run.
    """

    def __init__(self, context: DownloadContext, retry_policy: RetryPolicy, connections: ConnectionPool) -> None:
        section = context.settings.downloads
        self._context = context
        self._retry_policy = retry_policy
        self._connections = connections
        self._rules = context.rules
        self._check = build_file_check(allow_pickle=section.allow_pickle)
        self._fetched: dict[str, ModelFile] = {}
        self._bandwidth = Bandwidth(section.max_mib_per_second * _MIB, context.clock.monotonic)
        self._disk_reservation = DiskReservation(int(section.keep_free_gb * _GIB))

    def download(self, item: PlanItem) -> DownloadOutcome:
        """Download or link one item. Expected failures become part of the outcome."""
        clock = self._context.clock
        start = clock.monotonic()
        try:
            outcome = self._place(item, self._decide_target(item))
        except Failure as failure:
            outcome = DownloadOutcome(
                item.id,
                item.filename,
                check_item(item, self._rules).target,
                code=failure.code,
                message=failure.message,
                hint=failure.hint,
            )
        return msgspec.structs.replace(outcome, seconds=round(clock.monotonic() - start, 3))

    def _decide_target(self, item: PlanItem) -> Target:
        if self._context.stop.is_set():
            raise Failure(
                "download-stopped",
                "The downloads were stopped before this one started; it stays in the queue.",
                hint="Run the same command again.",
            )
        # The plan may be old, or edited by hand.
        checked = check_item(item, self._rules)
        if checked.blocked is not None:
            raise Failure(checked.code or "download-plan-invalid", checked.blocked)
        return decide_target(item.filename, item.folder, self._context.folders)

    def _place(self, item: PlanItem, target: Target) -> DownloadOutcome:
        """Link the file if this host has the same bytes and the name is free, else download it."""
        context = self._context
        lock = _lock_path(context.home, target)
        with (
            hold_lock(lock, command=f"download {item.filename[:200]}", clock=context.clock),
            open_folder(target) as folder,
        ):
            request = DownloadRequest(target.name, item.url, item.size, item.sha256)
            source = self._find_same_bytes(item.sha256)
            if source is not None and find_existing_file(request, folder, may_go_on=self._may_continue) is None:
                method = context.settings.downloads.link
                if link_file(source, folder, target.name, method=method, check=self._check):
                    return _build_linked_outcome(item, target, source)
            outcome = self._download(item, target, request, folder)
            if item.sha256 is not None:
                self._fetched[item.sha256] = _describe_file(item, target, folder)
            return outcome

    def _find_same_bytes(self, sha256: str | None) -> ModelFile | None:
        """Return a file of this host with a hash, also one that this run fetched under another name."""
        if sha256 is None:
            return None
        if sha256 in self._rules.local_copies:
            return self._context.local_models.get(sha256)
        return self._fetched.get(sha256)

    def _download(self, item: PlanItem, target: Target, request: DownloadRequest, folder: int) -> DownloadOutcome:
        context = self._context

        def report_progress(done: int, total: int | None) -> None:
            context.watcher.update(item, done, total)

        limits = DownloadLimits(
            wait=context.stop.wait,
            bandwidth=self._bandwidth,
            disk=self._disk_reservation,
            report_progress=report_progress,
            monotonic=context.clock.monotonic,
        )
        downloader = Downloader(self._connections, self._rules.allowed, self._retry_policy, limits, context.clock.now)
        result = download_file(request, folder, downloader, check=self._check, boot_id=context.clock.boot_id())
        return DownloadOutcome(
            item.id,
            item.filename,
            printable_path(target.path),
            how="there" if result.was_there else "downloaded",
            size=result.size,
            sha256=result.sha256,
            received_bytes=result.received_bytes,
            resumed_from=result.resumed_from,
        )

    def _may_continue(self) -> bool:
        return not self._context.stop.is_set()


def _describe_file(item: PlanItem, target: Target, folder: int) -> ModelFile:
    """Return a file that was just fetched and verified, as the inventory would list it."""
    status = os.stat(target.name, dir_fd=folder)
    return ModelFile(
        folder=item.folder or "",
        name="/".join((*target.below, target.name)),
        path=str(target.path),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        device=status.st_dev,
        inode=status.st_ino,
        format="",
        problem=None,
        problem_code=None,
    )


def _build_linked_outcome(item: PlanItem, target: Target, source: ModelFile) -> DownloadOutcome:
    return DownloadOutcome(
        item.id,
        item.filename,
        printable_path(target.path),
        how="linked",
        size=source.size,
        sha256=item.sha256,
        message=f"Linked to {printable_path(source.path)}.",
    )


def _lock_path(home: Home, target: Target) -> Path:
    """Return the lock of a target: one download at a time for each file, whatever its URL and spelling."""
    path = os.path.realpath(target.directory) + "/" + "/".join((*target.below, target.name))
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
    return home.state / "downloads" / f"{digest}.lock"
