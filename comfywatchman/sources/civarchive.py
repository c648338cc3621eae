"""Client of CivArchive, which keeps metadata of models that were removed from Civitai.

Its mirrors are on arbitrary hosts, so their URLs are hints for people; nothing is downloaded from them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.base.json_values import as_list
from comfywatchman.sources.identifiers import parse_sha256
from comfywatchman.sources.site_responses import convert_fields, read_content

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
        """Return the version with the files that have a hash, and only those; None when the archive has none.

        A version without files means that the archive knows the hash, but shows no file that has it.

        Raises:
            Failure: The request failed, or the files could not be read, so nothing is known.
        """
        sha256 = parse_sha256(digest)
        if sha256 is None:
            return None
        response = self._session.get(f"{self._base_url}/api/sha256/{sha256}", redirects="origin")
        content = read_content(response, _SITE)
        if content is None:
            return None
        body = _get_version(content)
        version = convert_fields({**body, "files": []}, ArchivedVersion)
        entries = body.get("files")
        if version is None or not isinstance(entries, list):
            raise _unexpected_response_failure(response)
        # The files are converted one by one, so that an unreadable one does not hide the others.
        files = [_parse_file(entry) for entry in entries]
        matching = tuple(file for file in files if file is not None and parse_sha256(file.sha256) == sha256)
        if not matching and any(file is None or parse_sha256(file.sha256) is None for file in files):
            raise _unexpected_response_failure(response)
        return msgspec.structs.replace(version, files=matching)


def _get_version(content: Any) -> dict[str, Any]:
    """Return the version in a response, which is the response itself or the member `version` of a model."""
    if not isinstance(content, dict):
        return {}
    nested = content.get("version")
    return nested if isinstance(nested, dict) else content


def _parse_file(entry: Any) -> ArchivedFile | None:
    if not isinstance(entry, dict):
        return None
    file = convert_fields({**entry, "mirrors": []}, ArchivedFile)
    if file is None:
        return None
    mirrors = [convert_fields(mirror, Mirror) for mirror in as_list(entry.get("mirrors"))]
    return msgspec.structs.replace(file, mirrors=tuple(mirror for mirror in mirrors if mirror is not None))


def _unexpected_response_failure(response: HttpResponse) -> Failure:
    return Failure("http-body", f"{response.url} did not respond as {_SITE} does.")
