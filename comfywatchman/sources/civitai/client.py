"""Client of Civitai's API: models by words, versions by id, files by hash.

File names are compared, never guessed. docs/technical/integrations.md gives the reasons for each rule.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import REDIRECT_STATUSES, HttpResponse, HttpSession
from comfywatchman.base.json_values import as_mapping
from comfywatchman.sources.civitai.lookups import (
    CivitaiHit,
    DownloadAccess,
    FilesByHash,
    HashLookup,
    ModelList,
    NameSearchResult,
    read_download_redirect,
)
from comfywatchman.sources.civitai.schema import (
    CivitaiModel,
    CivitaiVersion,
    parse_mode,
    parse_model,
    parse_version,
)
from comfywatchman.sources.file_names import build_search_terms, is_precision_variant, is_same_name, may_belong_to
from comfywatchman.sources.identifiers import parse_sha256
from comfywatchman.sources.site_responses import FORBIDDEN, NOT_FOUND, OK, UNAUTHORIZED, read_content

HASHES_PER_REQUEST: Final = 100

_SITE: Final = "Civitai"
_PAGE_SIZE: Final = 100
_ANY_HASH: Final = re.compile(r"[0-9A-Fa-f]{8,64}")
_TRANSIENT_CODES: Final = frozenset({"http-unreachable", "http-body", "source-unavailable"})

_GONE: Final = 410
_ACCESS_BY_STATUS: Final = {
    OK: DownloadAccess.GRANTED,
    UNAUTHORIZED: DownloadAccess.DENIED,
    FORBIDDEN: DownloadAccess.DENIED,
    NOT_FOUND: DownloadAccess.GONE,
    _GONE: DownloadAccess.GONE,
}

T = TypeVar("T")

_log = logging.getLogger(__name__)


_HitKey = tuple[int, int, str]


@dataclass(slots=True)
class _TermHits:
    """Files that the search terms led to on one server, until one of them failed."""

    hits: dict[_HitKey, CivitaiHit] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    withdrawn: dict[int, CivitaiModel] = field(default_factory=dict)
    unreadable: int = 0
    failure: Failure | None = None


class Civitai:
    """Client of Civitai with one account; can be shared by threads.

    Args:
        session: HTTP session.
        base_url: Address of the API.
        fallback: A second address of the same service, used with the same key for everything that the first does not
            have or cannot be queried about; empty or None for none.
        token: The account's API key.
        max_pages: Pages of 100 models to read for one search term at most.
    """

    def __init__(
        self,
        session: HttpSession,
        base_url: str = "https://civitai.com",
        fallback: str | None = "https://civitai.red",
        token: str | None = None,
        *,
        max_pages: int = 3,
    ) -> None:
        self._session = session
        self._token = token
        self._max_pages = max_pages
        self.base_urls = tuple(url.rstrip("/") for url in dict.fromkeys((base_url, fallback)) if url)

    def search(self, query: str, *, base_url: str | None = None) -> ModelList:
        """Return models for words (file names are not indexed), mature ones included, up to the page limit.

        Raises:
            Failure: The request failed, so nothing is known.
        """
        return self._search_models(base_url or self.base_urls[0], query)

    def find_by_file_name(
        self, filename: str, *, also: Sequence[str] = (), terms: Sequence[str] = ()
    ) -> NameSearchResult:
        """Search all versions and files of the models that the words of a file name lead to.

        Every term is searched up to its limit even after a hit, because another model may have a file of that name.
        The fallback is searched only when the first server has none.

        Args:
            filename: Without folder.
            also: Other acceptable names (`name.pt` besides `name.safetensors`).
            terms: Further search terms, used first.

        Raises:
            Failure: A part of the search failed and no file of that name was found.
        """
        names = (filename, *also)
        # The last name is the one with an extension, where the workflow omits it.
        all_terms = tuple(dict.fromkeys((*terms, *build_search_terms(names[-1]))))
        failure: Failure | None = None
        cut: dict[str, None] = {}
        variants: dict[_HitKey, CivitaiHit] = {}
        withdrawn: dict[int, CivitaiModel] = {}
        unreadable = 0
        exact: list[CivitaiHit] = []
        for base_url in self.base_urls:
            found = self._search_terms(base_url, all_terms, names)
            cut.update(dict.fromkeys(found.cut))
            withdrawn.update(found.withdrawn)
            unreadable += found.unreadable
            failure = failure or found.failure
            for key, hit in found.hits.items():
                if _has_any_name(hit, names):
                    exact.append(hit)
                else:
                    variants[key] = hit
            # Whatever failed beside it: a file with the exact name is a result.
            if exact:
                break
        else:
            if failure is not None:
                raise failure
        return NameSearchResult(
            tuple(exact), tuple(variants.values()), tuple(cut), tuple(withdrawn.values()), unreadable
        )

    def fetch_model(self, model_id: int) -> tuple[str, CivitaiModel] | None:
        """Return a model with all its versions, after the address of the server that has it; None when none has it.

        Raises:
            Failure: A request failed, so nothing is known.
        """
        return self._fetch(f"/api/v1/models/{model_id}", parse_model)

    def fetch_version(self, version_id: int) -> tuple[str, CivitaiVersion] | None:
        """Return a version with its files, after the address of the server that has it; None when none has it.

        Raises:
            Failure: A request failed, so nothing is known.
        """
        return self._fetch(f"/api/v1/model-versions/{version_id}", parse_version)

    def find_by_hash(self, digest: str) -> HashLookup | None:
        """Return the version that Civitai names for a hash of any kind; None when it names none.

        The result proves nothing unless it has a `hit`: Civitai also returns versions whose listed files lack the
        hash, and the oldest of several.

        Raises:
            Failure: A request failed, so nothing is known.
        """
        if not _ANY_HASH.fullmatch(digest):
            return None
        fetched = self._fetch(f"/api/v1/model-versions/by-hash/{quote(digest.upper())}", parse_version)
        if fetched is None:
            return None
        base_url, version = fetched
        for file in version.files:
            if file.has_hash(digest):
                return HashLookup(version, CivitaiHit(base_url, version, file))
        _log.debug("civitai returned a version without the hash", extra={"hash": digest, "version": version.id})
        return HashLookup(version, None)

    def check_download(self, url: str) -> DownloadAccess:
        """Request a download address without its content; without a key, nothing is requested.

        Args:
            url: As `build_civitai_url` builds it for one of the configured addresses; any other is not requested.

        Raises:
            Failure: The request failed, so nothing is known.
        """
        if not self._token or not url.startswith(tuple(f"{base_url}/" for base_url in self.base_urls)):
            return DownloadAccess.UNKNOWN
        # The redirect leads to the storage server, which is not needed for the answer.
        response = self._session.head(url, token=self._token, redirects="none")
        if response.status in REDIRECT_STATUSES:
            return read_download_redirect(url, response.headers.get("location", ""))
        content_type = response.headers.get("content-type", "").lower()
        if response.status == OK and "html" in content_type:
            # The page of a login, a proxy or a challenge.
            return DownloadAccess.UNKNOWN
        is_own_answer = "json" in content_type
        if response.status != OK and not is_own_answer:
            # The page of a proxy proves nothing.
            return DownloadAccess.UNKNOWN
        return _ACCESS_BY_STATUS.get(response.status, DownloadAccess.UNKNOWN)

    def identify(self, digests: Iterable[str]) -> FilesByHash:
        """Return the files with these SHA-256 hashes; failures are part of the result, none is raised."""
        wanted = _normalize_sha256s(digests)
        hits: dict[str, tuple[CivitaiHit, ...]] = {}
        failure: Failure | None = None
        # The second server is queried only about hashes that the first does not know.
        for base_url in self.base_urls:
            missing = [digest for digest in wanted if digest not in hits]
            try:
                for batch in _split_batches(missing, HASHES_PER_REQUEST):
                    found = self._find_files(base_url, batch)
                    hits |= found.hits
                    failure = failure or found.failure
            except Failure as caught:
                failure = failure or caught
        return FilesByHash(hits, failure if len(hits) < len(wanted) else None)

    def _search_terms(self, base_url: str, terms: Sequence[str], names: Sequence[str]) -> _TermHits:
        """Collect the files with one of the names, or a precision variant of it, for all search terms."""
        found = _TermHits()
        seen_ids: set[int] = set()
        for term in terms:
            try:
                listed = self._search_models(base_url, term, skip_ids=seen_ids)
            except Failure as failure:
                found.failure = found.failure or failure
                if failure.code not in _TRANSIENT_CODES:
                    break
                # Another term may lead to the file.
                continue
            if not listed.complete:
                found.cut.append(term)
            found.unreadable += listed.unreadable
            seen_ids.update(model.id for model in listed.models if model.id)
            for model in listed.models:
                if parse_mode(model.mode) is not None and any(may_belong_to(name, model.name or "") for name in names):
                    found.withdrawn[model.id] = model
            for hit in _iterate_files(base_url, listed.models):
                if _has_any_name(hit, names) or _is_variant_of_any(hit, names):
                    found.hits[hit.version.id, hit.file.id, hit.file.name] = hit
        return found

    def _search_models(self, base_url: str, query: str, *, skip_ids: Collection[int] = ()) -> ModelList:
        """Return models for words, without those of `skip_ids`, which were read before."""
        cursor: str | None = None
        seen_cursors: set[str] = set()
        models: list[CivitaiModel] = []
        unreadable = 0
        for _ in range(self._max_pages):
            items, cursor = self._fetch_page(base_url, query, cursor)
            for item in items:
                if _get_id(item) in skip_ids:
                    continue
                model = parse_model(item)
                if model is None:
                    unreadable += 1
                else:
                    models.append(model)
                    unreadable += model.unreadable
            if not cursor or cursor in seen_cursors:
                # A repeated cursor leads nowhere; only an empty page shows that it stood at the end.
                return ModelList(tuple(models), complete=not cursor or not items, unreadable=unreadable)
            seen_cursors.add(cursor)
        return ModelList(tuple(models), complete=False, unreadable=unreadable)

    def _fetch_page(self, base_url: str, query: str, cursor: str | None) -> tuple[list[Any], str | None]:
        # Words are searched with cursors only: the API rejects `page` together with `query`.
        parameters = {"query": query, "limit": str(_PAGE_SIZE), "nsfw": "true"}
        if cursor:
            parameters["cursor"] = cursor
        url = f"{base_url}/api/v1/models?{urlencode(parameters)}"
        return _parse_page(self._session.get(url, token=self._token, redirects="origin"))

    def _fetch(self, path: str, parse: Callable[[Any], T | None]) -> tuple[str, T] | None:
        """Return the content of the first server that has it; None when every server reports that it has none.

        Raises:
            Failure: A server failed and no other has the content, so that nothing is known.
        """
        failure: Failure | None = None
        for base_url in self.base_urls:
            try:
                response = self._session.get(f"{base_url}{path}", token=self._token, redirects="origin")
                content = read_content(response, _SITE)
                if content is not None:
                    return base_url, _require(parse(content), response)
            except Failure as caught:
                # A refused key or a rate limit concerns the account, which is the same on the other server.
                if caught.code not in _TRANSIENT_CODES:
                    raise
                failure = failure or caught
        if failure is not None:
            raise failure
        return None

    def _find_files(self, base_url: str, digests: Sequence[str]) -> FilesByHash:
        """Return the files of one server by hash, for one batch; an unreadable entry is a failure beside them."""
        url = f"{base_url}/api/v1/model-versions/by-hash"
        response = self._session.post_json(url, [digest.upper() for digest in digests], token=self._token)
        content = read_content(response, _SITE)
        if not isinstance(content, list):
            raise _unexpected_response_failure(response)
        by_digest: dict[str, list[CivitaiHit]] = {}
        is_readable = True
        for entry in content:
            version = parse_version(entry)
            if version is None:
                is_readable = False
                continue
            is_readable = is_readable and not version.hides_hashes
            for file in version.files:
                if file.sha256 is not None:
                    by_digest.setdefault(file.sha256, []).append(CivitaiHit(base_url, version, file))
        hits = {digest: tuple(by_digest[digest]) for digest in digests if digest in by_digest}
        return FilesByHash(hits, None if is_readable else _unexpected_response_failure(response))


def _parse_page(response: HttpResponse) -> tuple[list[Any], str | None]:
    """Return the items of a search page and the cursor of the next one."""
    content = read_content(response, _SITE)
    if not isinstance(content, dict) or not isinstance(content.get("items"), list):
        raise _unexpected_response_failure(response)
    metadata = content.get("metadata", {})
    cursor = metadata.get("nextCursor") if isinstance(metadata, dict) else metadata
    if not isinstance(cursor, (str, int, NoneType)) or not isinstance(metadata, dict):
        # Without it, nothing shows whether there are more pages.
        raise _unexpected_response_failure(response)
    return content["items"], str(cursor) if cursor else None


def _get_id(item: object) -> int | None:
    model_id = as_mapping(item).get("id")
    return model_id if isinstance(model_id, int) else None


def _require(value: T | None, response: HttpResponse) -> T:
    if value is None:
        raise _unexpected_response_failure(response)
    return value


def _unexpected_response_failure(response: HttpResponse) -> Failure:
    return Failure("http-body", f"The response of {response.url} is not one of Civitai's API.")


def _iterate_files(base_url: str, models: Iterable[CivitaiModel]) -> Iterator[CivitaiHit]:
    for model in models:
        for version in model.versions:
            for file in version.files:
                yield CivitaiHit(base_url, version, file, model.licence)


def _has_any_name(hit: CivitaiHit, names: Sequence[str]) -> bool:
    return any(is_same_name(name, hit.file.name) for name in names)


def _is_variant_of_any(hit: CivitaiHit, names: Sequence[str]) -> bool:
    return any(is_precision_variant(name, hit.file.name) for name in names)


def _normalize_sha256s(digests: Iterable[str]) -> list[str]:
    parsed = (parse_sha256(digest) for digest in digests)
    return list(dict.fromkeys(digest for digest in parsed if digest is not None))


def _split_batches(digests: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), size):
        yield digests[start : start + size]
