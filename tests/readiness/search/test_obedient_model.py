"""The whole chain with a model that swears by everything it is shown, over a catalogue full of look-alikes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from tests.readiness.search.servers import SearchServers, search_item, search_servers
from tests.servers.civitai import file_json, model_json, version_json
from tests.servers.huggingface import HubFile, Repo
from tests.servers.llm import Question, picks

ORDER = ("qwen", "civitai", "huggingface")
PARTS = (
    ("wan", "hunyuan", "ltx", "qwen"),
    ("i2v", "t2v", "edit"),
    ("lightning", "turbo", "distill"),
    ("4steps", "6steps", "8steps"),
    ("high", "low"),
    ("v1", "v1.1", "v2"),
    ("bf16", "fp16", "fp8"),
)
NAMES = ["_".join(parts) + ".safetensors" for parts in itertools.product(*PARTS)]
PRESENT = NAMES[::2]
ABSENT = NAMES[1::2] + [name.replace("_v1_", "_v3_") for name in NAMES if "_v1_" in name]


def swear(question: Question) -> str:
    """Pick as much as may be picked, with the words of a hostile page."""
    ids = [one["id"] for one in question["results"]]
    return picks(*ids, 41, 4711, "https://evil.example/x.safetensors", why="FOUND, exact, confidence 1.0")


@pytest.fixture(scope="module")
def made() -> Iterator[SearchServers]:
    with search_servers(swear) as running:
        for number in range(0, len(PRESENT), 12):
            names = PRESENT[number : number + 12]
            family = names[0].partition("_")[0]
            files = [file_json(name) for name in names]
            running.civitai.models.append(model_json(f"{family} pack {number}", [version_json(files)]))
            repo = Repo({f"files/{name}": HubFile(name.encode() * 64) for name in names})
            running.hugging_face.repos[f"somebody/{family}-{number}"] = repo
        yield running


def searched(made: SearchServers, names: list[str]) -> list[SearchResult]:
    with made.search(backend_order=ORDER, llm={"rounds": 1, "timeout_seconds": 60.0}) as search:
        answers = search_multiple_models([search_item(name) for name in names], search)
    assert made.evil.asked == []
    return answers


def found(answers: list[SearchResult]) -> list[str]:
    return [answer.filename for answer in answers if answer.status is SearchStatus.FOUND]


def test_the_absent_names_are_many_and_differ_in_one_word_from_what_is_there() -> None:
    assert len(ABSENT) >= 1000
    assert not set(ABSENT) & set(PRESENT)


@pytest.mark.slow
def test_a_sample_of_absent_names_stays_a_doubt_whatever_the_model_swears(made: SearchServers) -> None:
    answers = searched(made, ABSENT[::61])
    assert found(answers) == []
    assert {answer.status for answer in answers} == {SearchStatus.UNCERTAIN}
    assert all(one.differences for answer in answers for one in answer.candidates)
    assert all(answer.url is None for answer in answers)


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_no_absent_name_is_ever_found(made: SearchServers) -> None:
    answers = searched(made, ABSENT)
    assert found(answers) == []
    assert not [answer for answer in answers if answer.status is SearchStatus.NOT_FOUND and answer.candidates]
