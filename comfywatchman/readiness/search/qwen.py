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
from comfywatchman.readiness.search.budget import Budget
from comfywatchman.readiness.search.claims import Proposal, Wanted
from comfywatchman.readiness.search.gather import Hubs, verify
from comfywatchman.readiness.search.results import Ids, SearchResult, SearchStatus, doubted, left_unseen, merge
from comfywatchman.readiness.search.verify import Policy, reason_invalid
from comfywatchman.sources.civitai.schema import CivitaiModel
from comfywatchman.sources.file_names import base_name, differing_tokens, same_name, search_terms
from comfywatchman.sources.llm.ranking import MOST_RESULTS, CandidateProvider, Listed, Question
from comfywatchman.sources.llm.ranking import Proposal as Ranking
from comfywatchman.sources.llm.web_search import WebHit, WebSearch
from comfywatchman.sources.urls import CivitaiPlace, HuggingFaceFile, hub_place, is_repo

_FIRST_TERMS: Final = 2
_REPOS_PER_TERM: Final = 8
_MOST_OF_CIVITAI: Final = 24
_MOST_FAILURES: Final = 3
_NO_OWNERS: Final = frozenset({"datasets", "spaces", "docs", "blog", "papers", "collections", "api", "models"})


@dataclass(frozen=True, slots=True)
class _Item:
    """A result: what the model sees of it, and what it stands for."""

    listed: Listed
    ids: Ids
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The results of one search, and a sentence when there are more than were read."""

    items: Sequence[_Item] = ()
    unseen: tuple[str, ...] = ()


@dataclass(slots=True)
class _Findings:
    """What came of the search for one model so far.

    Attributes:
        items: Results by what they stand for.
        asked: Search texts used.
        picked: What the model chose.
        said: What it did, a sentence for each time it was asked.
        troubles: What could not be asked, or not understood.
        unseen: What the searches left out, in sentences.
    """

    items: dict[Ids, _Item] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    picked: dict[Ids, Proposal] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def add(self, fetch: Callable[[], _Fetched]) -> None:
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

    def search(self, wanted: Wanted, hubs: Hubs, *, policy: Policy, searched_at: str, budget: Budget) -> SearchResult:
        """Return what comes of searching and ranking; never raises for anybody's trouble.

        Args:
            wanted: The model.
            hubs: Whom to ask.
            policy: What may become FOUND.
            searched_at: The moment of asking.
            budget: Asked before each question to the model; the hubs' requests count themselves.
        """
        if reason_invalid(wanted) is not None:
            return verify(wanted, (), hubs, policy=policy, searched_at=searched_at)
        findings = _Findings()
        terms = search_terms(wanted.names[-1])[:_FIRST_TERMS] or wanted.names[-1:]
        for _ in range(self.rounds):
            self._gather(terms, hubs, policy, findings)
            named = _named(wanted, findings)
            answer = verify(wanted, named, hubs, policy=policy, searched_at=searched_at)
            if answer.status is SearchStatus.FOUND:
                return answer
            terms = self._rank(wanted, findings, budget)
            if not terms:
                break
        proposals = (*_named(wanted, findings), *findings.picked.values())
        answer = verify(wanted, proposals, hubs, policy=policy, searched_at=searched_at)
        return _with_account(answer, findings)

    def _gather(self, terms: Iterable[str], hubs: Hubs, policy: Policy, findings: _Findings) -> None:
        for term in terms:
            findings.asked.append(term)
            findings.add(partial(_from_civitai, term, hubs))
            findings.add(partial(_from_hugging_face, term, hubs))
            if self.web is not None:
                findings.add(partial(_from_web, self.web, term, policy))

    def _rank(self, wanted: Wanted, findings: _Findings, budget: Budget) -> tuple[str, ...]:
        """Let the model choose among the findings; return what else it would search for."""
        shown = _shown(wanted, findings)
        listed = tuple(item.listed for item in shown)
        try:
            ranking = self._ask(Question(wanted.names[0], wanted.folder, listed, tuple(findings.asked)), budget)
        except Failure as failure:
            findings.troubles.append(f"{self.provider.name}: {failure.message}")
            return ()
        findings.said.append(self._account(ranking, len(shown)))
        if ranking.invented and not ranking.picks:
            findings.troubles.append(f"{self.provider.name} answered with results that it was not shown.")
        who = f"{self.provider.name} picked it from our search"
        for pick in ranking.picks:
            item = shown[pick.id - 1]
            findings.picked.setdefault(item.ids, Proposal("model", who, item.ids, item.name))
        return tuple(query for query in ranking.queries if query not in findings.asked)

    def _ask(self, question: Question, budget: Budget) -> Ranking:
        with self._turn:
            budget.check()
            if self._failures >= _MOST_FAILURES:
                raise Failure("search-paused", "it failed several times in a row, so it is left alone for now.")
            try:
                ranking = self.provider.propose(question)
            except Failure:
                self._failures += 1
                raise
            self._failures = 0
            return ranking

    def _account(self, ranking: Ranking, shown: int) -> str:
        dropped = f"; {ranking.invented} that it was not shown were dropped" if ranking.invented else ""
        return f"{self.provider.name} was shown {shown} results and picked {len(ranking.picks)}{dropped}."


def _named(wanted: Wanted, findings: _Findings) -> list[Proposal]:
    """Return the results that bear the wanted name: the hub is asked about these whatever the model picks."""
    return [
        Proposal("search", "our search", item.ids, item.name)
        for item in findings.items.values()
        if any(same_name(name, item.name) for name in wanted.names)
    ]


def _from_civitai(term: str, hubs: Hubs) -> _Fetched:
    if hubs.civitai is None:
        return _Fetched()
    listed = hubs.civitai.search(term)
    files = [item for model in listed.models for item in _files_of(model)]
    return _Fetched(files, left_unseen("civitai", () if listed.complete else (term,)))


def _files_of(model: CivitaiModel) -> Iterator[_Item]:
    for version in model.versions:
        for file in version.files:
            title = f"{model.name or model.id} / {version.name or version.id} / {file.name}"
            text = ", ".join(part for part in (model.type, version.base_model, file.type) if part)
            ids = Ids(civitai_model=model.id, civitai_version=version.id, civitai_file=file.id or None)
            yield _Item(Listed("civitai", title, text), ids, file.name)


def _from_hugging_face(term: str, hubs: Hubs) -> _Fetched:
    if hubs.huggingface is None:
        return _Fetched()
    listed = hubs.huggingface.search_repos(term, limit=_REPOS_PER_TERM + 1)
    repos = [
        _Item(Listed("huggingface", repo.id, ", ".join(repo.tags[:8])), Ids(repo=repo.id))
        for repo in listed[:_REPOS_PER_TERM]
        if is_repo(repo.id)
    ]
    return _Fetched(repos, left_unseen("huggingface", (term,) if len(listed) > _REPOS_PER_TERM else ()))


def _from_web(web: WebSearch, term: str, policy: Policy) -> _Fetched:
    pages = (_page(hit, policy) for hit in web(term))
    return _Fetched([page for page in pages if page is not None])


def _page(hit: WebHit, policy: Policy) -> _Item | None:
    """Return what a page on a model site stands for; its words are only shown, its address only read for ids."""
    place = hub_place(hit.url, extra_hosts=policy.extra_hosts)
    text = f"{hit.title}: {hit.text}"
    if isinstance(place, CivitaiPlace):
        ids = Ids(civitai_model=place.model_id, civitai_version=place.version_id, civitai_file=place.file_id)
        return _Item(Listed("civitai", f"model page {place.model_id or place.version_id}", text), ids)
    if isinstance(place, HuggingFaceFile):
        ids = Ids(repo=place.repo, path=place.path)
        return _Item(Listed("huggingface", f"{place.repo}/{place.path}", text), ids, base_name(place.path))
    repo = _repo_of(hit.url, policy)
    return _Item(Listed("huggingface", repo, text), Ids(repo=repo)) if repo is not None else None


def _repo_of(url: str, policy: Policy) -> str | None:
    """Return the repository that a page of Hugging Face is about, or None."""
    # With a file's path behind it, the address is read by the one strict reader of addresses.
    page = url.partition("?")[0].partition("#")[0].rstrip("/").partition("/tree/")[0]
    place = hub_place(f"{page}/resolve/main/x", extra_hosts=policy.extra_hosts)
    if not isinstance(place, HuggingFaceFile) or place.path != "x":
        return None
    return place.repo if place.repo.partition("/")[0] not in _NO_OWNERS else None


def _shown(wanted: Wanted, findings: _Findings) -> list[_Item]:
    """Return what the model sees: the files nearest in name, and repositories in the order they came."""
    files = [item for item in findings.items.values() if item.ids.repo is None]
    files.sort(key=lambda item: min(len(differing_tokens(name, item.name)) for name in wanted.names))
    repos = [item for item in findings.items.values() if item.ids.repo is not None]
    kept = files[: max(_MOST_OF_CIVITAI, MOST_RESULTS - len(repos))]
    return [*kept, *repos][:MOST_RESULTS]


def _with_account(answer: SearchResult, findings: _Findings) -> SearchResult:
    """Add what the model did; trouble, and what was left out, keep "not found" from being certain and no more."""
    told = msgspec.structs.replace(answer, evidence=tuple(dict.fromkeys((*answer.evidence, *findings.said))))
    told = doubted(told, findings.unseen)
    if not findings.troubles:
        return told
    troubles = tuple(dict.fromkeys(findings.troubles))
    trouble = SearchResult(SearchStatus.ERROR, answer.filename, answer.type, answer.searched_at, evidence=troubles)
    return merge([told, trouble])
