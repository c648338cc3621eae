"""CivArchive: what is remembered of models that Civitai no longer has. Metadata only; nothing is fetched by it.

Its mirrors lie on arbitrary hosts, so an address from here is a hint for a person, never a place to download from.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.site_responses import convert_entries, convert_or_none, read_content

_SITE: Final = "CivArchive"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Mirror(msgspec.Struct, frozen=True, rename="camel"):
    """Somewhere the file lies or lay; `deleted_at` says that it is gone."""

    url: str = ""
    filename: str | None = None
    deleted_at: str | None = None
    source: str | None = None


class ArchivedFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file that is remembered."""

    name: str | None = None
    sha256: str | None = None
    size_kb: float | None = msgspec.field(name="sizeKB", default=None)
    mirrors: tuple[Mirror, ...] = ()


class ArchivedVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A version that is remembered, with its files."""

    id: int | None = None
    model_id: int | None = None
    name: str | None = None
    base_model: str | None = None
    files: tuple[ArchivedFile, ...] = ()


class CivArchive:
    """The archive; threads may share it.

    Args:
        session: Bounded connections.
        base_url: Where it answers.
    """

    def __init__(self, session: HttpSession, base_url: str = "https://civarchive.com") -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")

    def find_by_sha256(self, digest: str) -> ArchivedVersion | None:
        """Return the version whose file bears a hash, with that file alone; None when it is not remembered.

        Raises:
            Failure: Nothing is known.
        """
        digest = digest.lower()
        if not _SHA256.fullmatch(digest):
            return None
        answer = self._session.get(f"{self._base_url}/api/sha256/{digest}", redirects="origin")
        content = read_content(answer, _SITE)
        if content is None:
            return None
        version = _parse_version(content, answer)
        bearers = tuple(file for file in version.files if (file.sha256 or "").lower() == digest)
        return msgspec.structs.replace(version, files=bearers) if bearers else None


def _parse_version(content: Any, answer: HttpResponse) -> ArchivedVersion:
    """Read a version, which stands alone or under the model's `version`."""
    if isinstance(content, dict):
        inner = content.get("version")
        body = inner if isinstance(inner, dict) else content
        version = convert_or_none({**body, "files": []}, ArchivedVersion)
        listed = body.get("files")
        if version is not None and isinstance(listed, list):
            files = (_parse_file(entry) for entry in listed)
            return msgspec.structs.replace(version, files=tuple(file for file in files if file is not None))
    raise Failure("http-body", f"{answer.url} did not answer as {_SITE} does.")


def _parse_file(entry: Any) -> ArchivedFile | None:
    if not isinstance(entry, dict):
        return None
    file = convert_or_none({**entry, "mirrors": []}, ArchivedFile)
    return file and msgspec.structs.replace(file, mirrors=convert_entries(entry.get("mirrors"), Mirror))
