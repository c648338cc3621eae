"""Civitai's catalogue: models by words, versions by id, files by hash. Names are compared, never guessed.

The reasons for each rule stand in docs/technical/integrations.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.civitai.schema import CivitaiFile, CivitaiModel, CivitaiVersion, parse_model, parse_version
from comfywatchman.sources.file_names import build_search_terms, is_precision_variant, is_same_name
from comfywatchman.sources.site_responses import read_content

HASHES_PER_REQUEST: Final = 100

_SITE: Final = "Civitai"
_PAGE: Final = 100
_ANY_HASH: Final = re.compile(r"[0-9A-Fa-f]{8,64}")
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_TRANSIENT_CODES: Final = frozenset({"http-unreachable", "http-body", "source-unavailable"})

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CivitaiHit:
    """A file in its version, and the server that told of it (its address is what a download is built on)."""

    base_url: str
    version: CivitaiVersion
    file: CivitaiFile


@dataclass(frozen=True, slots=True)
class HashLookup:
    """What Civitai said of a hash.

    Attributes:
        version: The version it named.
        hit: The file of that version which bears the hash; None when none does, so that nothing is proved.
    """

    version: CivitaiVersion
    hit: CivitaiHit | None


@dataclass(frozen=True, slots=True)
class FilesByHash:
    """What Civitai said of many hashes.

    Attributes:
        hits: The files that bear them, by lower-case SHA-256; a hash that nobody bears is left out.
        failure: What kept one of its servers from telling of those that were left out; None when they are unknown.
    """

    hits: dict[str, tuple[CivitaiHit, ...]]
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class ModelList:
    """What a search for words brought.

    Attributes:
        models: In the order of the site.
        complete: False when the site has more than are read.
    """

    models: tuple[CivitaiModel, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class NameSearchResult:
    """What a search for one file name brought.

    Attributes:
        exact: Files of that name, upper and lower case aside, in all versions of all models seen.
        variants: Files whose names differ in one precision only.
        cut: Search terms for which the site has more models than were looked through.
    """

    exact: tuple[CivitaiHit, ...]
    variants: tuple[CivitaiHit, ...]
    cut: tuple[str, ...] = ()


@dataclass(slots=True)
class _TermHits:
    hits: dict[tuple[int, int, str], CivitaiHit] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    failure: Failure | None = None


class Civitai:
    """One account's view of Civitai; threads may share it.

    Args:
        session: Bounded connections.
        base_url: Where its API answers.
        fallback: The same service's other address, asked with the same key for what the first does not know or while
            it does not answer; empty or None for none.
        token: The account's key.
        max_pages: Most pages of 100 models that are read for one search term.
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
        """Return models for words (not file names: those are not indexed), mature ones too, up to the bound.

        Raises:
            Failure: Nothing is known.
        """
        return self._models(base_url or self.base_urls[0], query)

    def find_by_file_name(
        self, filename: str, *, also: Sequence[str] = (), terms: Sequence[str] = ()
    ) -> NameSearchResult:
        """Look through all versions and files of the models that a file name's words lead to.

        Every term is searched to its bound also after a hit, because another model may have a file of that name. The
        fallback is searched only when the first server has none.

        Args:
            filename: Without folder.
            also: Other names that would do (`name.pt` beside `name.safetensors`).
            terms: Further search terms, asked first.

        Raises:
            Failure: A part of the search failed and no file of that name was found.
        """
        names = (filename, *also)
        ladder = tuple(dict.fromkeys((*terms, *build_search_terms(names[-1]))))
        failure, cut, variants = None, dict[str, None](), dict[tuple[int, int, str], CivitaiHit]()
        for base_url in self.base_urls:
            found = self._search_terms(base_url, ladder, names)
            cut |= dict.fromkeys(found.cut)
            failure = failure or found.failure
            exact = tuple(hit for hit in found.hits.values() if _has_any_name(hit, names))
            variants |= {key: hit for key, hit in found.hits.items() if hit not in exact}
            if exact:
                return NameSearchResult(exact, tuple(variants.values()), tuple(cut))
        if failure is not None:
            raise failure
        return NameSearchResult((), tuple(variants.values()), tuple(cut))

    def model(self, model_id: int) -> tuple[str, CivitaiModel] | None:
        """Return a model with all its versions and the server that told it; None when there is none.

        Raises:
            Failure: Nothing is known.
        """
        return self._read(f"/api/v1/models/{model_id}", parse_model)

    def version(self, version_id: int) -> tuple[str, CivitaiVersion] | None:
        """Return a version with its files and the server that told it; None when there is none.

        Raises:
            Failure: Nothing is known.
        """
        return self._read(f"/api/v1/model-versions/{version_id}", parse_version)

    def find_by_hash(self, digest: str) -> HashLookup | None:
        """Return the version that Civitai names for a hash of any kind; None when it knows none.

        The answer proves nothing unless it holds a `hit`: Civitai also answers with versions whose listed files lack
        the hash, and with the oldest of several.

        Raises:
            Failure: Nothing is known.
        """
        if not _ANY_HASH.fullmatch(digest):
            return None
        answer = self._read(f"/api/v1/model-versions/by-hash/{quote(digest.upper())}", parse_version)
        if answer is None:
            return None
        base_url, version = answer
        bearers = (file for file in version.files if file.has_hash(digest))
        hit = next((CivitaiHit(base_url, version, file) for file in bearers), None)
        if hit is None:
            _log.debug("civitai named a version without the hash", extra={"hash": digest, "version": version.id})
        return HashLookup(version, hit)

    def identify(self, digests: Iterable[str]) -> FilesByHash:
        """Return the files that bear SHA-256 hashes; nobody's trouble raises."""
        wanted = _normalize_sha256s(digests)
        hits: dict[str, tuple[CivitaiHit, ...]] = {}
        failure: Failure | None = None
        for base_url in self.base_urls:
            try:
                for part in _split_batches([one for one in wanted if one not in hits], HASHES_PER_REQUEST):
                    hits |= self._bearers(base_url, part)
            except Failure as caught:
                failure = failure or caught
        return FilesByHash(hits, failure if len(hits) < len(wanted) else None)

    def _search_terms(self, base_url: str, ladder: Sequence[str], names: Sequence[str]) -> _TermHits:
        found, seen = _TermHits(), set[int]()
        for term in ladder:
            try:
                listed = self._models(base_url, term, but=seen)
            except Failure as failure:
                found.failure = failure
                break
            found.cut.extend(() if listed.complete else (term,))
            seen.update(model.id for model in listed.models)
            for hit in _iterate_files(base_url, listed.models):
                if _has_any_name(hit, names) or any(is_precision_variant(name, hit.file.name) for name in names):
                    found.hits[hit.version.id, hit.file.id, hit.file.name] = hit
        return found

    def _models(self, base_url: str, query: str, *, but: Collection[int] = ()) -> ModelList:
        """Return models for words, but those with these ids."""
        cursor: str | None = None
        seen: set[str] = set()
        models: list[CivitaiModel] = []
        for _ in range(self._max_pages):
            parameters = {"query": query, "limit": str(_PAGE), "nsfw": "true"} | ({"cursor": cursor} if cursor else {})
            answer = self._session.get(
                f"{base_url}/api/v1/models?{urlencode(parameters)}", token=self._token, redirects="origin"
            )
            items, cursor = _parse_page(answer)
            fresh = (item for item in items if _get_id(item) not in but)
            models.extend(model for model in map(parse_model, fresh) if model is not None)
            if not cursor or cursor in seen:
                # A cursor that comes again leads nowhere; whether it stood at the end, an empty page says.
                return ModelList(tuple(models), complete=not cursor or not items)
            seen.add(cursor)
        return ModelList(tuple(models), complete=False)

    def _read(self, path: str, reader: Callable[[Any], T | None]) -> tuple[str, T] | None:
        """Ask one server after the other; unknown to all is None, and one that failed keeps it from being None."""
        failure: Failure | None = None
        for base_url in self.base_urls:
            try:
                answer = self._session.get(f"{base_url}{path}", token=self._token, redirects="origin")
                content = read_content(answer, _SITE)
                if content is not None:
                    return base_url, _require(reader(content), answer)
            except Failure as caught:
                if caught.code not in _TRANSIENT_CODES:
                    raise
                failure = failure or caught
        if failure is not None:
            raise failure
        return None

    def _bearers(self, base_url: str, digests: Sequence[str]) -> dict[str, tuple[CivitaiHit, ...]]:
        url = f"{base_url}/api/v1/model-versions/by-hash"
        answer = self._session.post_json(url, [digest.upper() for digest in digests], token=self._token)
        content = read_content(answer, _SITE)
        if not isinstance(content, list):
            raise _unexpected_response_failure(answer)
        versions = filter(None, map(parse_version, content))
        files = [CivitaiHit(base_url, version, file) for version in versions for file in version.files]
        found = {digest: tuple(hit for hit in files if hit.file.sha256 == digest) for digest in digests}
        return {digest: hits for digest, hits in found.items() if hits}


def _parse_page(answer: HttpResponse) -> tuple[list[Any], str | None]:
    content = read_content(answer, _SITE)
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(items, list):
        raise _unexpected_response_failure(answer)
    metadata = content.get("metadata")
    cursor = metadata.get("nextCursor") if isinstance(metadata, dict) else None
    return items, str(cursor) if cursor else None


def _get_id(item: object) -> int | None:
    found = item.get("id") if isinstance(item, dict) else None
    return found if isinstance(found, int) else None


def _require(value: T | None, answer: HttpResponse) -> T:
    if value is None:
        raise _unexpected_response_failure(answer)
    return value


def _unexpected_response_failure(answer: HttpResponse) -> Failure:
    return Failure("http-body", f"{answer.url} did not answer as Civitai does.")


def _iterate_files(base_url: str, models: Iterable[CivitaiModel]) -> Iterator[CivitaiHit]:
    for model in models:
        for version in model.versions:
            for file in version.files:
                yield CivitaiHit(base_url, version, file)


def _has_any_name(hit: CivitaiHit, names: Sequence[str]) -> bool:
    return any(is_same_name(name, hit.file.name) for name in names)


def _normalize_sha256s(digests: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(digest.lower() for digest in digests if _SHA256.fullmatch(digest)))


def _split_batches(digests: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (digests[start : start + size] for start in range(0, len(digests), size))
