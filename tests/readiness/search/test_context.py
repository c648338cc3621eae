from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from comfywatchman.base.config import load
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.context import BACKENDS, Backend, SearchItem
from comfywatchman.readiness.search.decisions import Decisions
from tests.readiness.search.servers import search_item, search_servers

NAME = "detail_tweaker.safetensors"


def load_order(folder: Path, *names: str) -> Settings:
    listed = ", ".join(f'"{name}"' for name in names)
    (folder / "config.toml").write_text(f"[search]\nbackend_order = [{listed}]\n")
    return load(folder=folder, environment={}).settings


def test_list_of_backends_is_that_of_the_type() -> None:
    assert get_args(Backend) == BACKENDS


def test_every_backend_may_be_configured_and_no_other(tmp_path: Path) -> None:
    assert load_order(tmp_path, *reversed(BACKENDS)).search.backend_order == BACKENDS[::-1]
    with pytest.raises(Failure) as caught:
        load_order(tmp_path, "civitai", "other")
    assert caught.value.code == "config-wrong-type"


def test_items_that_differ_in_their_notes_are_searched_once() -> None:
    told: list[tuple[int, int]] = []
    first = search_item(NAME)
    noted = SearchItem(first.query, notes=("The same bytes are here.",))
    assert first != noted
    with search_servers() as made, made.search() as search:
        results = search_multiple_models([first, noted], search, progress=lambda *state: told.append(state))
    assert told == [(1, 1)]
    assert results[0] == results[1]


def test_search_without_a_database_has_no_memory_of_its_own() -> None:
    with search_servers() as made:
        with made.search() as first, made.search() as second:
            assert (first.cache, first.decisions) == (None, Decisions())
            assert first.decisions is not second.decisions
            assert first.configuration == second.configuration != ""
        with made.search(civitai_url=made.hugging_face.url) as other:
            assert other.configuration != first.configuration
