"""Web search, when one is configured: addresses of pages on model sites, never a fact about a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.site_responses import OK, build_api_failure

SITES: Final = ("huggingface.co", "civitai.com")
TAVILY_URL: Final = "https://api.tavily.com"
_MOST_HITS: Final = 10


@dataclass(frozen=True, slots=True)
class WebHit:
    """One page that a search named; every field was written by strangers.

    Attributes:
        url: Its address.
        title: Its title.
        text: A piece of it.
    """

    url: str
    title: str = ""
    text: str = ""


WebSearch = Callable[[str], tuple[WebHit, ...]]
"""Searches the web for a text; raises `Failure` when the search engine gives no answer."""


class _WebResult(msgspec.Struct, frozen=True):
    url: str
    title: str | None = None
    content: str | None = None


class _WebResponse(msgspec.Struct, frozen=True):
    results: list[_WebResult]


def search_tavily(session: HttpSession, query: str, *, key: str, base_url: str = TAVILY_URL) -> tuple[WebHit, ...]:
    """Ask Tavily (`POST /search`, form of its public reference) for pages on model sites.

    Raises:
        Failure: As `comfywatchman.sources.site_responses.build_api_failure`, or `http-unreachable`, `http-body`.
    """
    asked = {"query": query, "include_domains": list(SITES), "max_results": _MOST_HITS}
    return _parse_hits(session.post_json(f"{base_url.rstrip('/')}/search", asked, token=key), "Tavily")


def search_searxng(session: HttpSession, query: str, *, base_url: str) -> tuple[WebHit, ...]:
    """Ask a SearXNG server, whose settings must allow `format=json`, for pages on model sites.

    Raises:
        Failure: As `tavily`.
    """
    sites = " OR ".join(f"site:{site}" for site in SITES)
    parameters = urlencode({"q": f"{query} ({sites})", "format": "json", "safesearch": "0"})
    return _parse_hits(session.get(f"{base_url.rstrip('/')}/search?{parameters}", redirects="none"), "SearXNG")


def _parse_hits(answer: HttpResponse, site: str) -> tuple[WebHit, ...]:
    if answer.status != OK:
        raise build_api_failure(answer, site)
    try:
        found = msgspec.convert(answer.parse_json(), _WebResponse)
    except msgspec.ValidationError as error:
        raise Failure("http-body", f"{site} answered with something else than search results.") from error
    return tuple(WebHit(one.url, one.title or "", one.content or "") for one in found.results[:_MOST_HITS])
