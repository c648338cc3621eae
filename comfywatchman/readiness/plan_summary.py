"""The part of the report on the download plan."""

from __future__ import annotations

import msgspec


class BlockedDownload(msgspec.Struct, frozen=True):
    """A model that was found but cannot be downloaded: its name in the workflow, and the reason."""

    name: str
    folder: str | None
    reason: str


class PlanSummary(msgspec.Struct, frozen=True):
    """The download plan for the models missing now.

    Attributes:
        file: Absolute path of its JSON file; the Markdown file is next to it.
        downloads: Number of files it would download or link.
        total_bytes: Total download size, as far as sizes are known.
        to_choose: Number of models for which a person must choose a candidate.
        blocked: Models that were found but cannot be downloaded.
        fetched: Number of models downloaded in this cycle by `[downloads] auto`; the next cycle judges them.
    """

    file: str
    downloads: int
    total_bytes: int
    to_choose: int
    blocked: tuple[BlockedDownload, ...] = ()
    fetched: int = 0
