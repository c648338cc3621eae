"""Plans for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from comfywatchman.readiness.downloads.plan import (
    DownloadPlan,
    PlanRules,
    build_plan,
)
from comfywatchman.readiness.search.results import HubIds, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.sources.download.redirects import HostPolicy
from tests.readiness.downloads.test_target import MODELS, folders
from tests.search_results import reasons

SHA = "a" * 64


URL = "https://huggingface.co/o/r/resolve/main/a.safetensors"


NOW = "2026-11-20T14:00:00Z"


CHOOSABLE = SearchCandidate("civitai", "x.safetensors", url=URL, sha256=SHA)


def rules(**changes: Any) -> PlanRules:
    facts: dict[str, Any] = {
        "folders": folders(MODELS),
        "allowed": HostPolicy(),
        "allow_pickle": False,
        "local_copies": {},
        "find_disk": lambda directory: (directory.parts[1], 10 << 30),
    }
    return PlanRules(**{**facts, **changes})


def found(name: str = "a.safetensors", folder: str | None = "loras", **changes: Any) -> SearchResult:
    plain = SearchResult(SearchStatus.FOUND, name, folder, NOW, "huggingface", HubIds(repo="o/r"), URL, 1 << 30, SHA)
    return msgspec.structs.replace(plain, **reasons(changes.get("status", SearchStatus.FOUND)), **changes)


def plan_of(*results: SearchResult, **changes: Any) -> DownloadPlan:
    return build_plan(results, rules(**changes), cycle="c1", made_at=NOW)
