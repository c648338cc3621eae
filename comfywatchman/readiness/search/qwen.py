"""The backend `qwen`: this program searches, a language model ranks what was found, the hubs decide.

The model sees numbered results and answers with numbers; a number becomes the ids that we fetched with that result. So
whatever it was talked into, it cannot name an address, a file or a repository that our own searches did not bring.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.claims import ModelQuery, Proposal
from comfywatchman.readiness.search.gather import Hubs, verify_proposals
from comfywatchman.readiness.search.results import (
    HubIds,
    SearchResult,
    SearchStatus,
    add_doubts,
    describe_truncated_search,
    merge_results,
)
from comfywatchman.readiness.search.verify import SearchPolicy, reason_invalid
from comfywatchman.sources.civitai.schema import CivitaiModel
from comfywatchman.sources.file_names import base_name, build_search_terms, find_differing_tokens, is_same_name
from comfywatchman.sources.llm.ranking import MAX_RESULTS, CandidateProvider, LlmQuestion, LlmSearchResult
from comfywatchman.sources.llm.ranking import LlmProposal as Ranking
from comfywatchman.sources.llm.web_search import WebHit, WebSearch
from comfywatchman.sources.urls import CivitaiAddress, HuggingFaceFile, is_repo_id, parse_hub_url

_MAX_FIRST_TERMS: Final = 2
_REPOS_PER_TERM: Final = 8
_MAX_CIVITAI_RESULTS: Final = 24
_MAX_FAILURES: Final = 3
_RESERVED_OWNERS: Final = frozenset({"datasets", "spaces", "docs", "blog", "papers", "collections", "api", "models"})


@dataclass(frozen=True, slots=True)
class _HubResult:
    """A result: what the model sees of it, and what it stands for."""

    listed: LlmSearchResult
    ids: HubIds
    name: str = ""


@dataclass(frozen=True, slots=True)
class _ResultPage:
    """The results of one search, and a sentence when there are more than were read."""

    items: Sequence[_HubResult] = ()
    unseen: tuple[str, ...] = ()


@dataclass(slots=True)
class _ModelFindings:
    """What came of the search for one model so far.

    Attributes:
        items: Results by what they stand for.
        asked: Search texts used.
        picked: What the model chose.
        said: What it did, a sentence for each time it was asked.
        troubles: What could not be asked, or not understood.
        unseen: What the searches left out, in sentences.
    """

    items: dict[HubIds, _HubResult] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    picked: dict[HubIds, Proposal] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def add(self, fetch: Callable[[], _ResultPage]) -> None:
        """Take in the results of one search, or why it gave none."""
        try:
            fetched = fetch()
        except Failure as failure:
            self.troubles.append(failure.message)
            return
        for item in fetched.items:
            self.items.setdefault(item.ids, item)
        self.unseen.extend(fetched.unseen)


@dataclass(slots=True)
class ModelSearch:
    """A language model with the searches that feed it; threads may share it, the model is asked one thing at a time.

    Attributes:
        provider: Ranks the results; left alone for the rest of the search after three failures in a row.
        rounds: How often it is asked about one file.
        web: Searches the web too; None where no web search is configured.
    """

    provider: CandidateProvider
    rounds: int = 2
    web: WebSearch | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _failures: int = 0

    def search(
        self, wanted: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str, budget: SearchBudget
    ) -> SearchResult:
        """Return what comes of searching and ranking; never raises for anybody's trouble.

        Args:
            wanted: The model.
            hubs: Whom to ask.
            policy: What may become FOUND.
            searched_at: The moment of asking.
            budget: Asked before each question to the model; the hubs' requests count themselves.
        """
        if reason_invalid(wanted) is not None:
            return verify_proposals(wanted, (), hubs, policy=policy, searched_at=searched_at)
        findings = _ModelFindings()
        terms = build_search_terms(wanted.names[-1])[:_MAX_FIRST_TERMS] or wanted.names[-1:]
        for _ in range(self.rounds):
            self._gather(terms, hubs, policy, findings)
            named = _find_named_results(wanted, findings)
            answer = verify_proposals(wanted, named, hubs, policy=policy, searched_at=searched_at)
            if answer.status is SearchStatus.FOUND:
                return answer
            terms = self._rank(wanted, findings, budget)
            if not terms:
                break
        proposals = (*_find_named_results(wanted, findings), *findings.picked.values())
        answer = verify_proposals(wanted, proposals, hubs, policy=policy, searched_at=searched_at)
        return _add_account(answer, findings)

    def _gather(self, terms: Iterable[str], hubs: Hubs, policy: SearchPolicy, findings: _ModelFindings) -> None:
        for term in terms:
            findings.asked.append(term)
            findings.add(partial(_search_civitai, term, hubs))
            findings.add(partial(_search_hugging_face, term, hubs))
            if self.web is not None:
                findings.add(partial(_search_web, self.web, term, policy))

    def _rank(self, wanted: ModelQuery, findings: _ModelFindings, budget: SearchBudget) -> tuple[str, ...]:
        """Let the model choose among the findings; return what else it would search for."""
        shown = _select_shown(wanted, findings)
        listed = tuple(item.listed for item in shown)
        try:
            ranking = self._ask(LlmQuestion(wanted.names[0], wanted.folder, listed, tuple(findings.asked)), budget)
        except Failure as failure:
            findings.troubles.append(f"{self.provider.name}: {failure.message}")
            return ()
        findings.said.append(self._describe_ranking(ranking, len(shown)))
        if ranking.invented and not ranking.picks:
            findings.troubles.append(f"{self.provider.name} answered with results that it was not shown.")
        who = f"{self.provider.name} picked it from our search"
        for pick in ranking.picks:
            item = shown[pick.id - 1]
            findings.picked.setdefault(item.ids, Proposal("model", who, item.ids, item.name))
        return tuple(query for query in ranking.queries if query not in findings.asked)

    def _ask(self, question: LlmQuestion, budget: SearchBudget) -> Ranking:
        with self._turn:
            budget.check()
            if self._failures >= _MAX_FAILURES:
                raise Failure("search-paused", "it failed several times in a row, so it is left alone for now.")
            try:
                ranking = self.provider.propose(question)
            except Failure:
                self._failures += 1
                raise
            self._failures = 0
            return ranking

    def _describe_ranking(self, ranking: Ranking, shown: int) -> str:
        dropped = f"; {ranking.invented} that it was not shown were dropped" if ranking.invented else ""
        return f"{self.provider.name} was shown {shown} results and picked {len(ranking.picks)}{dropped}."


def _find_named_results(wanted: ModelQuery, findings: _ModelFindings) -> list[Proposal]:
    """Return the results that bear the wanted name: the hub is asked about these whatever the model picks."""
    return [
        Proposal("search", "our search", item.ids, item.name)
        for item in findings.items.values()
        if any(is_same_name(name, item.name) for name in wanted.names)
    ]


def _search_civitai(term: str, hubs: Hubs) -> _ResultPage:
    if hubs.civitai is None:
        return _ResultPage()
    listed = hubs.civitai.search(term)
    files = [item for model in listed.models for item in _list_files(model)]
    return _ResultPage(files, describe_truncated_search("civitai", () if listed.complete else (term,)))


def _list_files(model: CivitaiModel) -> Iterator[_HubResult]:
    for version in model.versions:
        for file in version.files:
            title = f"{model.name or model.id} / {version.name or version.id} / {file.name}"
            text = ", ".join(part for part in (model.type, version.base_model, file.type) if part)
            ids = HubIds(civitai_model=model.id, civitai_version=version.id, civitai_file=file.id or None)
            yield _HubResult(LlmSearchResult("civitai", title, text), ids, file.name)


def _search_hugging_face(term: str, hubs: Hubs) -> _ResultPage:
    if hubs.huggingface is None:
        return _ResultPage()
    listed = hubs.huggingface.search_repos(term, limit=_REPOS_PER_TERM + 1)
    repos = [
        _HubResult(LlmSearchResult("huggingface", repo.id, ", ".join(repo.tags[:8])), HubIds(repo=repo.id))
        for repo in listed[:_REPOS_PER_TERM]
        if is_repo_id(repo.id)
    ]
    return _ResultPage(
        repos, describe_truncated_search("huggingface", (term,) if len(listed) > _REPOS_PER_TERM else ())
    )


def _search_web(web: WebSearch, term: str, policy: SearchPolicy) -> _ResultPage:
    pages = (_read_page(hit, policy) for hit in web(term))
    return _ResultPage([page for page in pages if page is not None])


def _read_page(hit: WebHit, policy: SearchPolicy) -> _HubResult | None:
    """Return what a page on a model site stands for; its words are only shown, its address only read for ids."""
    place = parse_hub_url(hit.url, extra_hosts=policy.extra_hosts)
    text = f"{hit.title}: {hit.text}"
    if isinstance(place, CivitaiAddress):
        ids = HubIds(civitai_model=place.model_id, civitai_version=place.version_id, civitai_file=place.file_id)
        return _HubResult(LlmSearchResult("civitai", f"model page {place.model_id or place.version_id}", text), ids)
    if isinstance(place, HuggingFaceFile):
        ids = HubIds(repo=place.repo, path=place.path)
        return _HubResult(
            LlmSearchResult("huggingface", f"{place.repo}/{place.path}", text), ids, base_name(place.path)
        )
    repo = _parse_repo(hit.url, policy)
    return _HubResult(LlmSearchResult("huggingface", repo, text), HubIds(repo=repo)) if repo is not None else None


def _parse_repo(url: str, policy: SearchPolicy) -> str | None:
    """Return the repository that a page of Hugging Face is about, or None."""
    # With a file's path behind it, the address is read by the one strict reader of addresses.
    page = url.partition("?")[0].partition("#")[0].rstrip("/").partition("/tree/")[0]
    place = parse_hub_url(f"{page}/resolve/main/x", extra_hosts=policy.extra_hosts)
    if not isinstance(place, HuggingFaceFile) or place.path != "x":
        return None
    return place.repo if place.repo.partition("/")[0] not in _RESERVED_OWNERS else None


def _select_shown(wanted: ModelQuery, findings: _ModelFindings) -> list[_HubResult]:
    """Return what the model sees: the files nearest in name, and repositories in the order they came."""
    files = [item for item in findings.items.values() if item.ids.repo is None]
    files.sort(key=lambda item: min(len(find_differing_tokens(name, item.name)) for name in wanted.names))
    repos = [item for item in findings.items.values() if item.ids.repo is not None]
    kept = files[: max(_MAX_CIVITAI_RESULTS, MAX_RESULTS - len(repos))]
    return [*kept, *repos][:MAX_RESULTS]


def _add_account(answer: SearchResult, findings: _ModelFindings) -> SearchResult:
    """Add what the model did; trouble, and what was left out, keep "not found" from being certain and no more."""
    told = msgspec.structs.replace(answer, evidence=tuple(dict.fromkeys((*answer.evidence, *findings.said))))
    told = add_doubts(told, findings.unseen)
    if not findings.troubles:
        return told
    troubles = tuple(dict.fromkeys(findings.troubles))
    trouble = SearchResult(SearchStatus.ERROR, answer.filename, answer.type, answer.searched_at, evidence=troubles)
    return merge_results([told, trouble])
