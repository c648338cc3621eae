from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.model_choice import choose_candidate, read_search_results
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.search.results import SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.states import SearchDoubt


def test_no_search_has_no_results(tmp_path: Path) -> None:
    assert read_search_results(Session(tmp_path, None)) == ()


def test_choice_is_stored(tmp_path: Path) -> None:
    session = Session(tmp_path, None)
    url = "https://huggingface.co/o/r/resolve/main/a.safetensors"
    candidate = SearchCandidate("huggingface", "a.safetensors", url=url, sha256="0" * 64)
    now = "2026-12-01T00:00:00Z"
    result = SearchResult(
        SearchStatus.UNCERTAIN,
        "a.safetensors",
        "loras",
        now,
        candidates=(candidate,),
        doubt=SearchDoubt.CANDIDATES_TO_CHOOSE,
    )
    decision = choose_candidate(session, result, "1")
    assert decision.candidate == candidate
    assert session.layout.decisions.is_file()
    with pytest.raises(Failure, match="has no candidate 2"):
        choose_candidate(session, result, "2")
