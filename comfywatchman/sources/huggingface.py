"""Hugging Face: repositories by words, their files, and one file's commit, size and hash without fetching it.

File names and hashes cannot be searched there. Bytes are pinned by the commit that an answer names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.site_responses import (
    FORBIDDEN,
    NOT_FOUND,
    OK,
    UNAUTHORIZED,
    build_api_failure,
    convert_entries,
)
from comfywatchman.sources.urls import HuggingFaceFile, build_hugging_face_url, is_hugging_face_file

_SITE: Final = "Hugging Face"
_MOST_TREE_PAGES: Final = 20
_HERE: Final = frozenset({OK, 301, 302, 303, 307, 308})
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NEXT: Final = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next\b')
_TAKEN_DOWN: Final = "access to this resource is disabled"


class RepoSummary(msgspec.Struct, frozen=True):
    """A line of a search for repositories."""

    id: str
    tags: tuple[str, ...] = ()


class LfsPointer(msgspec.Struct, frozen=True):
    """A large file: `oid` is the SHA-256 of its content."""

    oid: str = ""
    size: int | None = None


class TreeFile(msgspec.Struct, frozen=True):
    """A file of a repository; `oid` is a git hash and proves nothing of the content by itself."""

    path: str
    type: str = "file"
    oid: str = ""
    size: int | None = None
    lfs: LfsPointer | None = None

    @property
    def sha256(self) -> str | None:
        """Return the SHA-256 of the content; None for small files, of which only a git hash is known."""
        digest = self.lfs.oid.lower() if self.lfs is not None else ""
        return digest if _SHA256.fullmatch(digest) else None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is there.

    Attributes:
        repo: `owner/name`.
        commit: The commit that the revision meant; 40 hex digits.
        path: Below the root.
        size: In bytes; None when the answer gives none.
        sha256: Lower-case hex; None for a small file, of which only a git hash is known.
    """

    repo: str
    commit: str
    path: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubNotFound:
    """What was asked for is not there, as the site itself says.

    Attributes:
        what: `repo` (missing, or private and hidden), `revision`, `entry` (the file), `disabled` (taken down), or
            `address` (it can be no address of a file, and nothing was asked).
        message: For people.
    """

    what: Literal["repo", "revision", "entry", "disabled", "address"]
    message: str


@dataclass(frozen=True, slots=True)
class GatedRepo:
    """The repository is there, but its owner lets in only who has asked and is logged in."""

    repo: str
    message: str


class HuggingFace:
    """One account's view of Hugging Face; threads may share it.

    Args:
        session: Bounded connections.
        base_url: Where it answers.
        token: The account's token.
    """

    def __init__(
        self, session: HttpSession, base_url: str = "https://huggingface.co", token: str | None = None
    ) -> None:
        self._session = session
        self._token = token
        self.base_url = base_url.rstrip("/")

    def search_repos(self, query: str, *, limit: int = 20) -> tuple[RepoSummary, ...]:
        """Return repositories whose id contains a text; file names are not searched.

        Raises:
            Failure: Nothing is known.
        """
        query_text = urlencode({"search": query, "limit": limit})
        answer = self._get(f"{self.base_url}/api/models?{query_text}")
        return convert_entries(_parse_list(answer), RepoSummary)

    def files(self, repo: str, *, revision: str = "main") -> tuple[TreeFile, ...] | HubNotFound | GatedRepo:
        """Return all files of a repository with size and hash.

        Raises:
            Failure: Nothing is known, or there are more pages than are read.
        """
        if not is_hugging_face_file(HuggingFaceFile(repo, revision, "x")):
            return HubNotFound("address", f"{repo!r} is no repository's name.")
        url: str | None = (
            f"{self.base_url}/api/models/{repo}/tree/{quote(revision, safe='')}?recursive=true&expand=true"
        )
        found: list[TreeFile] = []
        for _ in range(_MOST_TREE_PAGES):
            answer = self._get(url)
            if answer.status != OK:
                return _classify_absence(answer, repo)
            found.extend(file for file in convert_entries(_parse_list(answer), TreeFile) if file.type == "file")
            url = self._next(answer, url)
            if url is None:
                return tuple(found)
        raise Failure("http-body", f"{_SITE} lists more than {_MOST_TREE_PAGES} pages of files of {repo}.")

    def head_file(self, repo: str, revision: str, path: str) -> RemoteFile | HubNotFound | GatedRepo:
        """Return a file's commit, size and SHA-256 by asking for its headers; nothing is fetched.

        Redirects inside the site are followed (renamed repositories), those to where the bytes lie are not.

        Raises:
            Failure: Nothing is known.
        """
        file = HuggingFaceFile(repo, revision, path)
        if not is_hugging_face_file(file):
            return HubNotFound("address", f"{repo}/{path} is no address of a file.")
        answer = self._session.head(build_hugging_face_url(self.base_url, file), token=self._token)
        if answer.status not in _HERE:
            return _classify_absence(answer, repo)
        commit = answer.headers.get("x-repo-commit", "")
        if not _COMMIT.fullmatch(commit):
            raise _unexpected_response_failure(answer)
        digest = answer.headers.get("x-linked-etag", "").strip('"').lower()
        size = answer.headers.get("x-linked-size", "") or (
            answer.headers.get("content-length", "") if answer.status == OK else ""
        )
        return RemoteFile(
            repo=repo,
            commit=commit,
            path=path,
            size=int(size) if _SIZE.fullmatch(size) else None,
            sha256=digest if _SHA256.fullmatch(digest) else None,
        )

    def _get(self, url: str | None) -> HttpResponse:
        return self._session.get(url or "", token=self._token, redirects="origin")

    def _next(self, answer: HttpResponse, url: str | None) -> str | None:
        """Return the next page's address; one that leads to another server is not followed."""
        match = _NEXT.search(answer.headers.get("link", ""))
        if match is None:
            return None
        following: str = urljoin(url or "", match[1])
        if urlsplit(following)[:2] != urlsplit(self.base_url)[:2]:
            raise _unexpected_response_failure(answer)
        return following


def _parse_list(answer: HttpResponse) -> list[Any]:
    if answer.status != OK:
        raise _response_failure(answer)
    content = answer.parse_json()
    if not isinstance(content, list):
        raise _unexpected_response_failure(answer)
    return content


def _classify_absence(answer: HttpResponse, repo: str) -> HubNotFound | GatedRepo:
    """Tell what is not there by the site's own code; a status alone, which any proxy may send, says nothing."""
    code, said = answer.headers.get("x-error-code", ""), answer.headers.get("x-error-message", "")
    if _TAKEN_DOWN in said.lower():
        return HubNotFound("disabled", f"{repo} was taken down by {_SITE}.")
    if code == "GatedRepo" and answer.status in {UNAUTHORIZED, FORBIDDEN}:
        return GatedRepo(repo, f"{repo} is gated: accept its terms on {_SITE} and set a token of that account.")
    if code == "RepoNotFound" and answer.status in {UNAUTHORIZED, NOT_FOUND}:
        return HubNotFound("repo", f"{_SITE} has no repository {repo}, or it is private.")
    if code == "RevisionNotFound" and answer.status == NOT_FOUND:
        return HubNotFound("revision", f"{repo} has no such revision.")
    if code == "EntryNotFound" and answer.status == NOT_FOUND:
        return HubNotFound("entry", f"{repo} has no such file.")
    raise _response_failure(answer)


def _response_failure(answer: HttpResponse) -> Failure:
    failure = build_api_failure(answer, _SITE, said=answer.headers.get("x-error-message", ""))
    reset = next(_find_reset_seconds(answer.headers.get("ratelimit", "")), None)
    if failure.code == "source-rate-limited" and reset is not None:
        return Failure(failure.code, failure.message, hint=f"Try again in {reset} seconds.")
    return failure


def _find_reset_seconds(header: str) -> Iterator[str]:
    return (match[1] for match in re.finditer(r"(?:^|;)\s*t=(\d{1,6})(?=$|[;,\s])", header))


def _unexpected_response_failure(answer: HttpResponse) -> Failure:
    return Failure("http-body", f"{answer.url} did not answer as {_SITE} does.")
