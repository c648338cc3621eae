from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.llm.web_search import WebHit, search_searxng, search_tavily
from tests.servers.base import LocalServer, Reply

FOUND = {
    "results": [
        {"url": "https://huggingface.co/a/b", "title": "a/b", "content": "LoRA", "score": 0.9},
        {"url": "https://civitai.com/models/1", "title": None},
    ]
}
HITS = (WebHit("https://huggingface.co/a/b", "a/b", "LoRA"), WebHit("https://civitai.com/models/1"))


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60) as opened:
        yield opened


def test_tavily_request_has_model_sites_and_the_key_in_a_header(session: HttpSession) -> None:
    with LocalServer({"/search": Reply(json.dumps(FOUND).encode())}) as server:
        assert search_tavily(session, "wan lora", key="canary", base_url=server.url) == HITS
    body = json.loads(server.asked[0].body)
    assert (body["query"], body["include_domains"]) == ("wan lora", ["huggingface.co", "civitai.com"])
    assert "canary" not in server.asked[0].body.decode() + server.asked[0].path
    assert server.asked[0].headers["authorization"] == "Bearer canary"


def test_searxng_request_asks_for_json(session: HttpSession) -> None:
    with LocalServer({"/search": Reply(json.dumps(FOUND).encode())}) as server:
        assert search_searxng(session, "wan & lora", base_url=server.url + "/") == HITS
    query = parse_qs(urlsplit(server.asked[0].path).query)
    assert query["q"] == ["wan & lora (site:huggingface.co OR site:civitai.com)"]
    assert query["format"] == ["json"]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(b"{}", 401), "source-unauthorized"),
        (Reply(b"{}", 429), "source-rate-limited"),
        (Reply(b"{}", 503), "source-unavailable"),
        (Reply(b"<html>"), "http-body"),
        (Reply(b'{"results": {}}'), "http-body"),
        (Reply(b'{"results": [{"title": "no address"}]}'), "http-body"),
        (Reply(b"", 302, {"Location": "http://127.0.0.1:9/"}), "http-status"),
    ],
)
def test_failed_search_is_not_an_empty_result(session: HttpSession, reply: Reply, code: str) -> None:
    with LocalServer({"/search": reply}) as server:
        with pytest.raises(Failure) as from_tavily:
            search_tavily(session, "x", key="k", base_url=server.url)
        with pytest.raises(Failure) as from_searxng:
            search_searxng(session, "x", base_url=server.url)
    assert (from_tavily.value.code, from_searxng.value.code) == (code, code)
