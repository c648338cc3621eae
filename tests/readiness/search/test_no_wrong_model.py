"""The promise of the search, measured: over sockets, against a catalogue that is full of look-alikes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.readiness.search.claims import Proposal, build_query
from comfywatchman.readiness.search.gather import Hubs, search_civitai, verify_proposals
from comfywatchman.readiness.search.results import HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.huggingface import HuggingFace
from tests.servers.civitai import CivitaiServer, file_json, model_json, sha256_of, version_json
from tests.servers.huggingface import HubFile, HuggingFaceServer, Repo

AT = "2026-11-20T14:00:00Z"
FAMILIES = ("wan2.2", "wan2.1", "qwen-image", "Lightning-XL")
KINDS = ("i2v", "t2v")
NOISE = ("high", "low")
STEPS = ("4steps", "8steps")
SIZES = ("14B", "5B", "1.3B")
VERSIONS = ("v1.0", "v1.1")
PRECISIONS = ("fp16", "bf16", "fp8_scaled", "fp8_e4m3fn")
ENDS = (".safetensors", ".sft")

ALL = [
    f"{family}_{kind}_{noise}_{steps}_{size}_{version}_{precision}{end}"
    for family, kind, noise, steps, size, version, precision, end in itertools.product(
        FAMILIES, KINDS, NOISE, STEPS, SIZES, VERSIONS, PRECISIONS, ENDS
    )
]
ABSENT = ALL[1::2] + [name.replace("_v1.", "_V1-") for name in ALL[::3]]
PRESENT = [name for name in ALL if name not in set(ABSENT)]

SAMPLE = 31
"""Coprime to the number of choices of each part, so that a sample has all of them."""


class Catalogue:
    """Every second name of all, in models whose names lead to all of them, and the same on Hugging Face."""

    def __init__(self, session: HttpSession) -> None:
        self.civitai = CivitaiServer(
            [model_json(family, list(self._versions(family)), type="LORA") for family in FAMILIES]
            + [model_json("wan2.1 remix", list(self._versions("wan2.1")))]
        )
        self.huggingface = HuggingFaceServer(
            {
                f"someone/{family}": Repo({name: self._file(name) for name in PRESENT if name.startswith(family)})
                for family in FAMILIES
            }
        )
        self.hubs = Hubs(Civitai(session, self.civitai.url, None), HuggingFace(session, self.huggingface.url))
        ports = (self.civitai.port, self.huggingface.port)
        self.policy = SearchPolicy(extra_hosts=frozenset(f"127.0.0.1:{port}" for port in ports))

    def on_civitai(self, name: str) -> SearchResult:
        return search_civitai(build_query(name, "loras"), self.hubs, policy=self.policy, searched_at=AT)

    def claimed(self, name: str, path: str) -> SearchResult:
        """Let a language model claim that a model is the file of that path, in its family's repository."""
        repo = f"someone/{path.partition('_')[0]}"
        claim = Proposal("model", "a language model, confidence 1.0", HubIds(repo=repo, path=path), name=name)
        return verify_proposals(build_query(name, "loras"), [claim], self.hubs, policy=self.policy, searched_at=AT)

    @staticmethod
    def _versions(family: str) -> Iterator[dict[str, object]]:
        names = [name for name in PRESENT if name.startswith(family)]
        for start in range(0, len(names), 8):
            yield version_json([file_json(name) for name in names[start : start + 8]])

    @staticmethod
    def _file(name: str) -> HubFile:
        return HubFile(size=1 << 30, sha256=sha256_of(name).lower())


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    with HttpSession(timeout_seconds=60) as session:
        made = Catalogue(session)
        with made.civitai, made.huggingface:
            yield made


def found(results: Iterable[SearchResult]) -> list[SearchResult]:
    return [result for result in results if result.status is SearchStatus.FOUND]


def look_alikes(name: str) -> list[str]:
    """Give the names that are there and differ in one word."""
    swaps = [*itertools.permutations(STEPS, 2), *itertools.permutations(KINDS, 2), *itertools.permutations(ENDS, 2)]
    swaps += [*itertools.permutations(NOISE, 2), *itertools.permutations(PRECISIONS, 2)]
    swapped = [name.replace(f"_{one}", f"_{other}").replace(one, other) for one, other in swaps if one in name]
    return [one for one in dict.fromkeys(swapped) if one in set(PRESENT)]


@pytest.mark.slow
def test_the_absent_names_are_many_and_each_has_look_alikes() -> None:
    absent = set(ABSENT)
    assert len(absent) >= 1000
    assert not {name.lower() for name in absent} & {name.lower() for name in PRESENT}
    assert all(look_alikes(name) for name in ALL[1::2])


@pytest.fixture(params=[SAMPLE, pytest.param(1, marks=[pytest.mark.torture, pytest.mark.timeout(900)])])
def every(request: pytest.FixtureRequest) -> int:
    """Take one of so many names: a sample, and all of them in the torture suite."""
    step: int = request.param
    return step


@pytest.mark.slow
def test_no_absent_name_is_ever_found(catalogue: Catalogue, every: int) -> None:
    results = [catalogue.on_civitai(name) for name in ABSENT[::every]]
    assert found(results) == []
    offered = [one for result in results for one in result.candidates if one.label is None]
    assert offered == []


@pytest.mark.slow
def test_every_name_that_is_there_is_found_with_its_own_hash(catalogue: Catalogue, every: int) -> None:
    for name in PRESENT[::every]:
        for result in (catalogue.on_civitai(name), catalogue.claimed(name, name)):
            assert result.status is SearchStatus.FOUND, name
            assert result.sha256 == sha256_of(name).lower()
            assert result.confidence == "exact name"


@pytest.mark.slow
def test_no_confident_claim_about_an_absent_name_is_believed(catalogue: Catalogue, every: int) -> None:
    names = ABSENT[:: 3 * every]
    invented = [catalogue.claimed(name, name) for name in names]
    assert {result.doubt for result in invented} == {SearchDoubt.NO_MATCH}
    mistaken = [catalogue.claimed(name, other) for name in names for other in look_alikes(name)[:2]]
    assert len(mistaken) > 200 // every
    assert {result.status for result in mistaken} == {SearchStatus.UNCERTAIN}
    assert all(len(result.candidates[0].differences) >= 1 for result in mistaken)
