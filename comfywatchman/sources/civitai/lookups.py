"""The results of lookups on Civitai: files by name, files by hash, models by words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from comfywatchman.base.address import parse_address
from comfywatchman.base.errors import Failure
from comfywatchman.sources.civitai.schema import CivitaiFile, CivitaiModel, CivitaiVersion
from comfywatchman.sources.urls import CIVITAI_HOSTS


@dataclass(frozen=True, slots=True)
class CivitaiHit:
    """A file in its version, and the server that reported it (download URLs are built on that server's address).

    Attributes:
        base_url: The server.
        version: The version.
        file: The file.
        licence: What the author permits, for people; None where the response does not state it.
    """

    base_url: str
    version: CivitaiVersion
    file: CivitaiFile
    licence: str | None = None


class DownloadAccess(Enum):
    """Whether Civitai lets an account download a file."""

    GRANTED = auto()
    DENIED = auto()
    GONE = auto()
    UNKNOWN = auto()
    """There is no key, or the response proves neither."""


def read_download_redirect(url: str, location: str) -> DownloadAccess:
    """Return what a redirect of a download address proves: only one to a storage server grants access. Pure.

    Args:
        url: The download address.
        location: The address that it redirects to, as in the response; empty when there is none.
    """
    if "/login" in location.partition("?")[0]:
        return DownloadAccess.DENIED
    try:
        start = parse_address(url)
        target = parse_address(location, base=start)
    except Failure:
        return DownloadAccess.UNKNOWN
    is_storage = target.scheme == "https" and target.host != start.host and target.netloc not in CIVITAI_HOSTS
    return DownloadAccess.GRANTED if is_storage else DownloadAccess.UNKNOWN


@dataclass(frozen=True, slots=True)
class HashLookup:
    """Civitai's response for a hash.

    Attributes:
        version: The version in the response.
        hit: The file of that version with the hash; None when no file has it, so that nothing is proved.
    """

    version: CivitaiVersion
    hit: CivitaiHit | None


@dataclass(frozen=True, slots=True)
class FilesByHash:
    """Civitai's files for many hashes.

    Attributes:
        hits: Files by lower-case SHA-256; hashes without a file are left out.
        failure: Why one of the servers could not be queried about the missing hashes, or its response not be read
            completely; None when all of them could.
    """

    hits: dict[str, tuple[CivitaiHit, ...]]
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class ModelList:
    """Result of a search for words.

    Attributes:
        models: In the order of the site.
        complete: False when the site has more models than were read.
        unreadable: Number of models, versions and files that could not be read.
    """

    models: tuple[CivitaiModel, ...]
    complete: bool
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class NameSearchResult:
    """Result of a search for a file name.

    Attributes:
        exact: Files with that name, ignoring case, in all versions of all models that were read.
        variants: Files whose names differ in one precision only.
        cut: Search terms for which the site has more models than were read.
        withdrawn: Models of such a name that are archived or taken down.
        unreadable: Number of models, versions and files that could not be read.
    """

    exact: tuple[CivitaiHit, ...]
    variants: tuple[CivitaiHit, ...]
    cut: tuple[str, ...] = ()
    withdrawn: tuple[CivitaiModel, ...] = ()
    unreadable: int = 0
