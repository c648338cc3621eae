"""Checks that a file which passed all other checks can be fetched: its version, early access, disabled downloads."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.search.claims import HubRecord, HubState, ModelQuery
from comfywatchman.readiness.search.hub_records import build_civitai_record
from comfywatchman.readiness.search.verify import SearchPolicy, list_objections
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.civitai.lookups import CivitaiHit, DownloadAccess

_DENIALS: Final = {
    DownloadAccess.DENIED: "Civitai denies this download to your account: early access, or downloads are disabled",
    DownloadAccess.GONE: "Civitai lists the file, but has no download of it",
}


def confirm_access(
    query: ModelQuery, records: Iterable[HubRecord], civitai: Civitai | None, policy: SearchPolicy
) -> list[HubRecord]:
    """Return the records, those that only a restriction keeps from being FOUND with what Civitai says about access.

    With a key, the download address itself is requested, without its content. Without one, a file that comes from a
    list is looked up in its own version, because lists leave out whether downloads are allowed.

    Args:
        query: The model.
        records: What the hubs report.
        civitai: The client; None if Civitai is switched off.
        policy: Which files may become FOUND.
    """
    if civitai is None:
        return list(records)
    confirmed = []
    for record in records:
        may_be_found = record.state is HubState.PRESENT and record.source == "civitai"
        if may_be_found and not list_objections(query, replace(record, restriction=None), policy):
            confirmed.append(_confirm(record, civitai))
        else:
            confirmed.append(record)
    return confirmed


def _confirm(record: HubRecord, civitai: Civitai) -> HubRecord:
    """Return a record of Civitai with its restriction; unchanged where Civitai cannot be queried about it."""
    # The file is there by its hash, so a failing request hides no result.
    access = DownloadAccess.UNKNOWN
    with suppress(Failure):
        access = civitai.check_download(record.url or "")
    if access is DownloadAccess.GRANTED:
        return replace(record, restriction=None)
    if not record.is_complete:
        # Lists leave out the reason as well.
        with suppress(Failure):
            record = _look_up_version(record, civitai)
    if access in _DENIALS:
        return replace(record, restriction=record.restriction or _DENIALS[access])
    return record


def _look_up_version(record: HubRecord, civitai: Civitai) -> HubRecord:
    """Return the record of a listed file with what its own version says about it."""
    ids = record.ids
    if ids.civitai_version is None:
        return record
    found = civitai.fetch_version(ids.civitai_version)
    if found is None:
        return replace(record, restriction=f"Civitai does not show version {ids.civitai_version}, which lists the file")
    base_url, version = found
    for file in version.files:
        if file.id == ids.civitai_file or file.sha256 == record.sha256:
            restriction = build_civitai_record(record.proposal, CivitaiHit(base_url, version, file)).restriction
            return replace(record, restriction=restriction, is_complete=True)
    if version.hides_hashes:
        return record
    return replace(record, restriction=f"version {version.id} on Civitai does not offer this file for download")
