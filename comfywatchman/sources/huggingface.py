"""Client of Hugging Face: repositories by id, their files, and a file's commit, size and hash without its content.

Hugging Face can search neither file names nor hashes. Downloads are pinned to the commit in a response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import REDIRECT_STATUSES, HttpResponse, HttpSession
from comfywatchman.sources.identifiers import parse_commit, parse_etag, parse_sha256, parse_size, read_linked_sha256
from comfywatchman.sources.site_responses import (
    FORBIDDEN,
    NOT_FOUND,
    OK,
    UNAUTHORIZED,
    build_api_failure,
    convert_fields,
)
from comfywatchman.sources.urls import HuggingFaceFile, build_hugging_face_url, is_hugging_face_file

_SITE: Final = "Hugging Face"
_MAX_TREE_PAGES: Final = 20
_NEXT_LINK: Final = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next\b')
_RATE_LIMIT_RESET: Final = re.compile(r"(?:^|;)\s*t=(\d{1,6})(?=$|[;,\s])")
_DISABLED: Final = "access to this resource is disabled"


class RepoSummary(msgspec.Struct, frozen=True, rename="camel"):
    """A repository in the results of a search; `model_id` repeats its id."""

    id: str = ""
    model_id: str = ""
    tags: tuple[str, ...] = ()


class LfsPointer(msgspec.Struct, frozen=True):
    """Metadata of a large file: `oid` is the SHA-256 of its content."""

    oid: str = ""
    size: int | None = None


class TreeFile(msgspec.Struct, frozen=True):
    """A file of a repository; `oid` is a git hash, which does not identify the content by itself."""

    path: str
    type: str = "file"
    oid: str | None = None
    size: int | None = None
    lfs: LfsPointer | None = None

    @property
    def sha256(self) -> str | None:
        """Return the SHA-256 of the content; None for small files, which have a git hash only."""
        return parse_sha256(self.lfs.oid) if self.lfs is not None else None


@dataclass(frozen=True, slots=True)
class RepoSearchResult:
    """The result of a search for repositories.

    Attributes:
        repos: In the order of the site.
        unreadable: Number of entries that could not be read.
    """

    repos: tuple[RepoSummary, ...]
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class RepoFiles:
    """All files of a repository at one revision.

    Attributes:
        files: Those that could be read.
        unreadable: Number of entries that could not be read, each of which may be any file.
        is_complete: False when the repository has more files than were read.
    """

    files: tuple[TreeFile, ...]
    unreadable: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An existing file.

    Attributes:
        repo: `owner/name`.
        commit: The commit of the requested revision; 40 hex digits.
        path: Below the repository's root.
        size: In bytes; None when the response does not give it.
        sha256: Lower-case hex; None for a small file, which has a git hash only.
        unreadable: Names of headers that could not be read.
    """

    repo: str
    commit: str
    path: str
    size: int | None
    sha256: str | None
    unreadable: tuple[str, ...] = ()


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

    def search_repos(self, query: str, *, limit: int = 20) -> RepoSearchResult:
        """Return repositories whose id contains a text; file names are not searched.

        Raises:
            Failure: The request failed, so nothing is known.
        """
        query_text = urlencode({"search": query, "limit": limit})
        response = self._get(f"{self.base_url}/api/models?{query_text}")
        repos = []
        unreadable = 0
        for entry in _parse_list(response):
            repo = convert_fields(entry, RepoSummary)
            repo_id = (repo.id or repo.model_id) if repo is not None else ""
            if repo is None or not repo_id:
                unreadable += 1
            else:
                repos.append(msgspec.structs.replace(repo, id=repo_id))
        return RepoSearchResult(tuple(repos), unreadable)

    def list_files(self, repo: str, *, revision: str = "main") -> RepoFiles | HubNotFound | GatedRepo:
        """Return the files of a repository with size and hash, up to the page limit.

        Raises:
            Failure: A request failed.
        """
        if not is_hugging_face_file(HuggingFaceFile(repo, revision, "x")):
            return HubNotFound("address", f"{repo!r} is not a valid repository name.")
        tree = f"{self.base_url}/api/models/{repo}/tree/{quote(revision, safe='')}"
        url = f"{tree}?recursive=true&expand=true"
        files: list[TreeFile] = []
        unreadable = 0
        for _ in range(_MAX_TREE_PAGES):
            response = self._get(url)
            if response.status != OK:
                return _classify_absence(response, repo)
            for entry in _parse_list(response):
                file = convert_fields(entry, TreeFile)
                if file is None or not file.path:
                    unreadable += 1
                # Of an unknown type it is taken for a file, since folders are of no use here.
                elif file.type != "directory":
                    files.append(file)
            next_url = self._find_next_page(response, url)
            if next_url is None:
                return RepoFiles(tuple(files), unreadable)
            url = next_url
        return RepoFiles(tuple(files), unreadable, is_complete=False)

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
        remote = RemoteFile(
            repo=repo,
            commit=commit,
            path=path,
            size=parse_size(size),
            sha256=read_linked_sha256(response.headers),
        )
        unreadable = []
        if size and remote.size is None:
            unreadable.append("x-linked-size")
        # The tag of a small file is its git hash.
        tag = parse_etag(response.headers.get("x-linked-etag", ""))
        if tag and remote.sha256 is None and parse_commit(tag) is None:
            unreadable.append("x-linked-etag")
        return replace(remote, unreadable=tuple(unreadable))

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
