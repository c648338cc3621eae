"""A search against local servers that speak like the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from comfywatchman.base.config import load
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.claims import Proposal, build_query
from comfywatchman.readiness.search.context import SearchContext, SearchItem
from comfywatchman.readiness.search.decisions import Decisions
from comfywatchman.readiness.search.factory import open_search
from tests.fakes import FakeClock
from tests.servers.base import LocalServer
from tests.servers.civitai import CivitaiServer
from tests.servers.huggingface import HuggingFaceServer
from tests.servers.llm import ChatServer, Script

CANARIES = {
    "civitai_api_key": "canary-civitai-key",
    "hf_token": "canary-hf-token",
    "llm_api_key": "canary-llm-key",
    "tavily_api_key": "canary-tavily-key",
}


def search_item(name: str, folder: str | None = "loras", *evidence: Proposal, sha256: str | None = None) -> SearchItem:
    """Return what is looked for."""
    return SearchItem(build_query(name, folder, sha256=sha256), evidence)


@dataclass
class SearchServers:
    """The servers that one test runs, and an `evil` one that nobody may ask."""

    civitai: CivitaiServer = field(default_factory=CivitaiServer)
    hugging_face: HuggingFaceServer = field(default_factory=HuggingFaceServer)
    evil: LocalServer = field(default_factory=LocalServer)
    llm: ChatServer | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    secrets: dict[str, str] = field(default_factory=lambda: dict(CANARIES))

    def settings(
        self,
        *,
        search: dict[str, Any] | None = None,
        llm: dict[str, Any] | None = None,
        allow_pickle: bool = False,
    ) -> Settings:
        """Return settings that lead to these servers."""
        settings = load(folder=Path("/"), environment={}).settings
        places = {
            "civitai_url": self.civitai.url,
            "civitai_fallback_url": "",
            "huggingface_url": self.hugging_face.url,
            "civarchive_url": self.evil.url,
        }
        model = {"driver": "openai", "base_url": self.llm.base_url, "timeout_seconds": 2.0} if self.llm else {}
        return replace(
            settings,
            search=replace(settings.search, **{**places, **(search or {})}),
            llm=replace(settings.llm, **{**model, **(llm or {})}),
            downloads=replace(settings.downloads, allow_pickle=allow_pickle),
            secrets=replace(settings.secrets, **self.secrets),
        )

    @contextmanager
    def search(
        self,
        *,
        database: Database | None = None,
        decisions: Decisions | None = None,
        budget: SearchBudget | None = None,
        llm: dict[str, Any] | None = None,
        allow_pickle: bool = False,
        **search: Any,
    ) -> Iterator[SearchContext]:
        """Open a search; keywords are keys of `[search]`."""
        settings = self.settings(search=search, llm=llm, allow_pickle=allow_pickle)
        allowed = budget or SearchBudget(self.clock)
        with open_search(settings, clock=self.clock, budget=allowed, database=database, decisions=decisions) as opened:
            yield opened


@contextmanager
def search_servers(*scripts: Script) -> Iterator[SearchServers]:
    """Start the servers; a language model only when it has something to say."""
    with ExitStack() as stack:
        made = SearchServers(llm=ChatServer(*scripts) if scripts else None)
        for server in (made.civitai, made.hugging_face, made.evil, made.llm):
            if server is not None:
                stack.enter_context(server)
        yield made
