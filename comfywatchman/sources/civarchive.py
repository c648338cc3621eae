"""Client of CivArchive, which keeps metadata of models that were removed from Civitai.

Its mirrors are on arbitrary hosts, so their URLs are hints for people; nothing is downloaded from them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.identifiers import parse_sha256
from comfywatchman.sources.site_responses import convert_entries, convert_or_none, read_content

_SITE: Final = "CivArchive"


class Mirror(msgspec.Struct, frozen=True, rename="camel"):
    """A place that has or had the file; `deleted_at` is set when it is gone."""

    url: str = ""
    filename: str | None = None
    deleted_at: str | None = None
    source: str | None = None


class ArchivedFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file in the archive."""

    name: str | None = None
    sha256: str | None = None
    size_kb: float | None = msgspec.field(name="sizeKB", default=None)
    mirrors: tuple[Mirror, ...] = ()


class ArchivedVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A model version in the archive, with its files."""

    id: int | None = None
    model_id: int | None = None
    name: str | None = None
    base_model: str | None = None
    files: tuple[ArchivedFile, ...] = ()


class CivArchive:
    """Client of the archive; can be shared by threads.

    Args:
        session: HTTP session.
        base_url: Its address.
    """

    def __init__(self, session: HttpSession, base_url: str = "https://civarchive.com") -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")

    def find_by_sha256(self, digest: str) -> ArchivedVersion | None:
        """Return the version with the file that has a hash, and only that file; None when the archive has none.

        Raises:
            Failure: The request failed, so nothing is known.
        """
        sha256 = parse_sha256(digest)
        if sha256 is None:
            return None
        response = self._session.get(f"{self._base_url}/api/sha256/{sha256}", redirects="origin")
        content = read_content(response, _SITE)
        if content is None:
            return None
        version = _parse_version(content, response)
        matching = tuple(file for file in version.files if parse_sha256(file.sha256) == sha256)
        return msgspec.structs.replace(version, files=matching) if matching else None


def _parse_version(content: Any, response: HttpResponse) -> ArchivedVersion:
    """Parse a version, which is the response itself or the member `version` of a model."""
    if isinstance(content, dict):
        nested = content.get("version")
        body = nested if isinstance(nested, dict) else content
        # The files are converted one by one, so that a malformed one does not hide the others.
        version = convert_or_none({**body, "files": []}, ArchivedVersion)
        entries = body.get("files")
        if version is not None and isinstance(entries, list):
            parsed = (_parse_file(entry) for entry in entries)
            files = tuple(file for file in parsed if file is not None)
            return msgspec.structs.replace(version, files=files)
    raise Failure("http-body", f"{response.url} did not respond as {_SITE} does.")


def _parse_file(entry: Any) -> ArchivedFile | None:
    if not isinstance(entry, dict):
        return None
    file = convert_or_none({**entry, "mirrors": []}, ArchivedFile)
    if file is None:
        return None
    return msgspec.structs.replace(file, mirrors=convert_entries(entry.get("mirrors"), Mirror))
