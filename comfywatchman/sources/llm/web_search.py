"""Web search, when configured: URLs of pages on model sites, never a fact about a file."""

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
_MAX_HITS: Final = 10


@dataclass(frozen=True, slots=True)
class WebHit:
    """One page in the search results; every field was written by strangers.

    Attributes:
        url: Its URL.
        title: Its title.
        text: An excerpt.
    """

    url: str
    title: str = ""
    text: str = ""


WebSearch = Callable[[str], tuple[WebHit, ...]]
"""Searches the web for a text; raises `Failure` when the search engine fails."""


class _WebResult(msgspec.Struct, frozen=True):
    url: str
    title: str | None = None
    content: str | None = None


class _WebResponse(msgspec.Struct, frozen=True):
    results: list[_WebResult]


def search_tavily(session: HttpSession, query: str, *, key: str, base_url: str = TAVILY_URL) -> tuple[WebHit, ...]:
    """Search pages on model sites with Tavily (`POST /search` of its public API reference).

    Raises:
        Failure: As `comfywatchman.sources.site_responses.build_api_failure`, or `http-unreachable`, `http-body`.
    """
    payload = {"query": query, "include_domains": list(SITES), "max_results": _MAX_HITS}
    return _parse_hits(session.post_json(f"{base_url.rstrip('/')}/search", payload, token=key), "Tavily")


def search_searxng(session: HttpSession, query: str, *, base_url: str) -> tuple[WebHit, ...]:
    """Search pages on model sites with a SearXNG server, whose settings must allow `format=json`.

    Raises:
        Failure: As `search_tavily`.
    """
    # SearXNG has no parameter for sites. Safe search would hide pages of mature models.
    sites = " OR ".join(f"site:{site}" for site in SITES)
    parameters = urlencode({"q": f"{query} ({sites})", "format": "json", "safesearch": "0"})
    return _parse_hits(session.get(f"{base_url.rstrip('/')}/search?{parameters}", redirects="none"), "SearXNG")


def _parse_hits(response: HttpResponse, site: str) -> tuple[WebHit, ...]:
    if response.status != OK:
        raise build_api_failure(response, site)
    try:
        content = msgspec.convert(response.parse_json(), _WebResponse)
    except msgspec.ValidationError as error:
        raise Failure("http-body", f"{site} did not respond with search results.") from error
    return tuple(WebHit(hit.url, hit.title or "", hit.content or "") for hit in content.results[:_MAX_HITS])
