"""Client of Hugging Face: repositories by id, their files, and a file's commit, size and hash without its content.

Hugging Face can search neither file names nor hashes. Downloads are pinned to the commit in a response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import REDIRECT_STATUSES, HttpResponse, HttpSession
from comfywatchman.sources.identifiers import parse_commit, parse_sha256, parse_size, read_linked_sha256
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
_MAX_TREE_PAGES: Final = 20
_NEXT_LINK: Final = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next\b')
_RATE_LIMIT_RESET: Final = re.compile(r"(?:^|;)\s*t=(\d{1,6})(?=$|[;,\s])")
_DISABLED: Final = "access to this resource is disabled"


class RepoSummary(msgspec.Struct, frozen=True):
    """A repository in the results of a search."""

    id: str
    tags: tuple[str, ...] = ()


class LfsPointer(msgspec.Struct, frozen=True):
    """Metadata of a large file: `oid` is the SHA-256 of its content."""

    oid: str = ""
    size: int | None = None


class TreeFile(msgspec.Struct, frozen=True):
    """A file of a repository; `oid` is a git hash, which does not identify the content by itself."""

    path: str
    type: str = "file"
    oid: str = ""
    size: int | None = None
    lfs: LfsPointer | None = None

    @property
    def sha256(self) -> str | None:
        """Return the SHA-256 of the content; None for small files, which have a git hash only."""
        return parse_sha256(self.lfs.oid) if self.lfs is not None else None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An existing file.

    Attributes:
        repo: `owner/name`.
        commit: The commit of the requested revision; 40 hex digits.
        path: Below the repository's root.
        size: In bytes; None when the response does not give it.
        sha256: Lower-case hex; None for a small file, which has a git hash only.
    """

    repo: str
    commit: str
    path: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubNotFound:
    """The site itself reports that something does not exist.

    Attributes:
        what: `repo` (missing, or private and hidden), `revision`, `entry` (the file), `disabled` (taken down), or
            `address` (not a valid file address; no request was sent).
        message: The reason, for people.
    """

    what: Literal["repo", "revision", "entry", "disabled", "address"]
    message: str


@dataclass(frozen=True, slots=True)
class GatedRepo:
    """The repository exists, but its owner grants access only to accounts that accepted its terms."""

    repo: str
    message: str


class HuggingFace:
    """Client of Hugging Face with one account; can be shared by threads.

    Args:
        session: HTTP session.
        base_url: Its address.
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
            Failure: The request failed, so nothing is known.
        """
        query_text = urlencode({"search": query, "limit": limit})
        response = self._get(f"{self.base_url}/api/models?{query_text}")
        return convert_entries(_parse_list(response), RepoSummary)

    def list_files(self, repo: str, *, revision: str = "main") -> tuple[TreeFile, ...] | HubNotFound | GatedRepo:
        """Return all files of a repository with size and hash.

        Raises:
            Failure: A request failed, or the list has too many pages.
        """
        if not is_hugging_face_file(HuggingFaceFile(repo, revision, "x")):
            return HubNotFound("address", f"{repo!r} is not a valid repository name.")
        tree = f"{self.base_url}/api/models/{repo}/tree/{quote(revision, safe='')}"
        url = f"{tree}?recursive=true&expand=true"
        files: list[TreeFile] = []
        for _ in range(_MAX_TREE_PAGES):
            response = self._get(url)
            if response.status != OK:
                return _classify_absence(response, repo)
            entries = convert_entries(_parse_list(response), TreeFile)
            files.extend(entry for entry in entries if entry.type == "file")
            next_url = self._find_next_page(response, url)
            if next_url is None:
                return tuple(files)
            url = next_url
        raise Failure("http-body", f"{_SITE} lists more than {_MAX_TREE_PAGES} pages of files of {repo}.")

    def head_file(self, repo: str, revision: str, path: str) -> RemoteFile | HubNotFound | GatedRepo:
        """Return a file's commit, size and SHA-256 from its headers, without its content.

        Redirects inside the site (renamed repositories) are followed, the one to the storage server is not.

        Raises:
            Failure: The request failed, so nothing is known.
        """
        file = HuggingFaceFile(repo, revision, path)
        if not is_hugging_face_file(file):
            return HubNotFound("address", f"{repo}/{path} is not a valid file address.")
        response = self._session.head(build_hugging_face_url(self.base_url, file), token=self._token)
        # Large files redirect to the storage server; their headers stand in the redirect.
        if response.status != OK and response.status not in REDIRECT_STATUSES:
            return _classify_absence(response, repo)
        commit = parse_commit(response.headers.get("x-repo-commit"))
        if commit is None:
            raise _unexpected_response_failure(response)
        size = response.headers.get("x-linked-size")
        if not size and response.status == OK:
            # The length of a redirect is that of its own body.
            size = response.headers.get("content-length")
        return RemoteFile(
            repo=repo,
            commit=commit,
            path=path,
            size=parse_size(size),
            sha256=read_linked_sha256(response.headers),
        )

    def _get(self, url: str) -> HttpResponse:
        return self._session.get(url, token=self._token, redirects="origin")

    def _find_next_page(self, response: HttpResponse, url: str) -> str | None:
        """Return the URL of the next page; None on the last one.

        Raises:
            Failure: The next page is on another server, which must not get the token.
        """
        link = _NEXT_LINK.search(response.headers.get("link", ""))
        if link is None:
            return None
        next_url: str = urljoin(url, link[1])
        if urlsplit(next_url)[:2] != urlsplit(self.base_url)[:2]:
            raise _unexpected_response_failure(response)
        return next_url


def _parse_list(response: HttpResponse) -> list[Any]:
    if response.status != OK:
        raise _response_failure(response)
    content = response.parse_json()
    if not isinstance(content, list):
        raise _unexpected_response_failure(response)
    return content


def _classify_absence(response: HttpResponse, repo: str) -> HubNotFound | GatedRepo:
    """Return what is missing, by the site's own error code.

    Raises:
        Failure: There is no such code; a bare status, which any proxy may send, proves nothing.
    """
    code = response.headers.get("x-error-code", "")
    message = response.headers.get("x-error-message", "")
    if _DISABLED in message.lower():
        return HubNotFound("disabled", f"{_SITE} has taken down {repo}.")
    if code == "GatedRepo" and response.status in {UNAUTHORIZED, FORBIDDEN}:
        return GatedRepo(repo, f"{repo} is gated: accept its terms on {_SITE} and set a token of that account.")
    # Without a token, a missing repository looks like a private one: 401.
    if code == "RepoNotFound" and response.status in {UNAUTHORIZED, NOT_FOUND}:
        return HubNotFound("repo", f"{_SITE} has no repository {repo}, or it is private.")
    if code == "RevisionNotFound" and response.status == NOT_FOUND:
        return HubNotFound("revision", f"{repo} has no such revision.")
    if code == "EntryNotFound" and response.status == NOT_FOUND:
        return HubNotFound("entry", f"{repo} has no such file.")
    raise _response_failure(response)


def _response_failure(response: HttpResponse) -> Failure:
    failure = build_api_failure(response, _SITE, reason=response.headers.get("x-error-message", ""))
    reset = _RATE_LIMIT_RESET.search(response.headers.get("ratelimit", ""))
    if failure.code == "source-rate-limited" and reset is not None:
        return Failure(failure.code, failure.message, hint=f"Try again in {reset[1]} seconds.")
    return failure


def _unexpected_response_failure(response: HttpResponse) -> Failure:
    return Failure("http-body", f"{response.url} did not respond as {_SITE} does.")
