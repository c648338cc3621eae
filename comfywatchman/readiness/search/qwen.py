"""The backend `qwen`: this program searches, a language model ranks the results, the hubs verify its picks.

The model sees numbered results and answers with numbers. A number becomes the ids that this program fetched with that
result, so a model that was misled cannot introduce a URL, a file or a repository that our own searches did not return.
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
from comfywatchman.readiness.search.hub_records import describe_unreadable_entries
from comfywatchman.readiness.search.results import (
    HubIds,
    SearchResult,
    SearchStatus,
    add_doubt,
    describe_truncation,
    merge_results,
)
from comfywatchman.readiness.search.verify import SearchPolicy, reason_invalid
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.civitai.schema import CivitaiModel
from comfywatchman.sources.file_names import base_name, build_search_terms, find_differing_tokens, is_same_name
from comfywatchman.sources.llm.ranking import MAX_RESULTS, CandidateProvider, LlmProposal, LlmQuestion, LlmSearchResult
from comfywatchman.sources.llm.web_search import WebHit, WebSearch
from comfywatchman.sources.urls import CivitaiAddress, HuggingFaceFile, is_repo_id, parse_hub_url

_MAX_FIRST_TERMS: Final = 2
_REPOS_PER_TERM: Final = 8
_MAX_CIVITAI_RESULTS: Final = 24
_MAX_FAILURES: Final = 3
_HANGS: Final = frozenset({"http-unreachable", "child-timeout"})
"""Failure codes of a model that did not answer in time."""

_RESERVED_OWNERS: Final = frozenset({"datasets", "spaces", "docs", "blog", "papers", "collections", "api", "models"})
"""First path segments on Hugging Face that are not owners of model repositories."""


@dataclass(frozen=True, slots=True)
class _HubResult:
    """A search result: the part that the language model sees, and the ids that it stands for."""

    listed: LlmSearchResult
    ids: HubIds
    name: str = ""


@dataclass(frozen=True, slots=True)
class _ResultPage:
    """The results of one search, a sentence if there are more than were read, and one if some could not be read."""

    results: Sequence[_HubResult] = ()
    truncated: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(slots=True)
class _ModelFindings:
    """The state of the search for one model.

    Attributes:
        results: Search results by ids.
        used_terms: Search terms used so far.
        picked: Proposals picked by the language model.
        account: One sentence for each round of the language model.
        errors: Failed searches, and failed or unusable answers of the language model.
        truncated: One sentence for each search with more results than were read.
        is_unreadable: Whether an answer of a site could not be read completely.
    """

    results: dict[HubIds, _HubResult] = field(default_factory=dict)
    used_terms: list[str] = field(default_factory=list)
    picked: dict[HubIds, Proposal] = field(default_factory=dict)
    account: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    is_unreadable: bool = False

    def add_page(self, fetch: Callable[[], _ResultPage]) -> None:
        """Run one search and add its results, or its failure."""
        try:
            page = fetch()
        except Failure as failure:
            self.errors.append(failure.message)
            self.is_unreadable = self.is_unreadable or failure.code == "http-body"
            return
        for result in page.results:
            self.results.setdefault(result.ids, result)
        self.truncated.extend(page.truncated)
        self.errors.extend(page.unreadable)
        self.is_unreadable = self.is_unreadable or bool(page.unreadable)

    def propose_by_name(self, query: ModelQuery) -> list[Proposal]:
        """Return the results with the wanted name; the hub verifies these whatever the language model picks."""
        return [
            Proposal("search", "our search", result.ids, result.name)
            for result in self.results.values()
            if any(is_same_name(name, result.name) for name in query.names)
        ]


@dataclass(slots=True)
class ModelSearch:
    """A language model with the searches that feed it. Threads may share it; the model gets one question at a time.

    Attributes:
        provider: Ranks the results; paused for the rest of the search after three failures in a row, or after one
            question without an answer in time.
        rounds: Questions per missing file.
        web: Web search; None if none is configured.
        trouble: Why the language model is not asked any more, for people; None while it answers.
    """

    provider: CandidateProvider
    rounds: int = 2
    web: WebSearch | None = None
    _question_lock: threading.Lock = field(default_factory=threading.Lock)
    trouble: str | None = None
    _failures: int = 0

    def search(
        self, query: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str, budget: SearchBudget
    ) -> SearchResult:
        """Search, let the language model rank the results, and verify its picks. Failures become ERROR results.

        Args:
            query: The model.
            hubs: The hubs to query.
            policy: Which files may become FOUND.
            searched_at: Time of the search.
            budget: Checked before each question; requests to hubs count themselves.
        """
        if reason_invalid(query) is not None:
            return verify_proposals(query, (), hubs, policy=policy, searched_at=searched_at)
        findings = _ModelFindings()
        terms = build_search_terms(query.names[-1])[:_MAX_FIRST_TERMS] or query.names[-1:]
        for _ in range(self.rounds):
            self._run_searches(terms, hubs, policy, findings)
            # Files of the exact name may settle it without the language model.
            named = findings.propose_by_name(query)
            result = verify_proposals(query, named, hubs, policy=policy, searched_at=searched_at)
            if result.status is SearchStatus.FOUND:
                return result
            terms = self._rank(query, findings, budget)
            if not terms:
                break
        proposals = (*findings.propose_by_name(query), *findings.picked.values())
        result = verify_proposals(query, proposals, hubs, policy=policy, searched_at=searched_at, is_search=True)
        return _add_account(result, findings)

    def _run_searches(self, terms: Iterable[str], hubs: Hubs, policy: SearchPolicy, findings: _ModelFindings) -> None:
        for term in terms:
            findings.used_terms.append(term)
            findings.add_page(partial(_search_civitai, term, hubs))
            findings.add_page(partial(_search_hugging_face, term, hubs))
            if self.web is not None:
                findings.add_page(partial(_search_web, self.web, term, policy))

    def _rank(self, query: ModelQuery, findings: _ModelFindings, budget: SearchBudget) -> tuple[str, ...]:
        """Let the language model pick among the results; return the search terms of the next round."""
        shown = _select_shown(query, findings)
        listed = tuple(result.listed for result in shown)
        question = LlmQuestion(query.names[0], query.folder, listed, tuple(findings.used_terms))
        try:
            ranking = self._ask(question, budget)
        except Failure as failure:
            findings.errors.append(f"{self.provider.name}: {failure.message}")
            return ()
        findings.account.append(self._describe_ranking(ranking, len(shown)))
        if ranking.invented and not ranking.picks:
            findings.errors.append(f"{self.provider.name} answered with results that it was not shown.")
        origin = f"{self.provider.name} picked it from our search"
        for pick in ranking.picks:
            picked = shown[pick.id - 1]
            findings.picked.setdefault(picked.ids, Proposal("model", origin, picked.ids, picked.name))
        return tuple(term for term in ranking.queries if term not in findings.used_terms)

    def _ask(self, question: LlmQuestion, budget: SearchBudget) -> LlmProposal:
        with self._question_lock:
            # Checked when it is this thread's turn: the wait may have used up the budget.
            budget.check()
            if self._failures >= _MAX_FAILURES:
                raise Failure("search-paused", "it failed several times in a row, so it is paused for this search.")
            try:
                ranking = self.provider.propose(question)
            except Failure as failure:
                self._failures += 1
                # The next question would wait as long, and take the time of the other backends.
                if failure.code in _HANGS:
                    self._failures = _MAX_FAILURES
                    self.trouble = failure.message
                raise
            self._failures = 0
            return ranking

    def _describe_ranking(self, ranking: LlmProposal, shown: int) -> str:
        dropped = f"; {ranking.invented} that it was not shown were dropped" if ranking.invented else ""
        return f"{self.provider.name} was shown {shown} results and picked {len(ranking.picks)}{dropped}."


def _search_civitai(term: str, hubs: Hubs) -> _ResultPage:
    if hubs.civitai is None:
        return _ResultPage()
    found = hubs.civitai.search(term)
    files: list[_HubResult] = []
    for model in found.models:
        files.extend(_list_files(model))
    truncated_terms = () if found.complete else (term,)
    return _ResultPage(
        files, describe_truncation("civitai", truncated_terms), _describe_unreadable("Civitai", found.unreadable)
    )


def _describe_unreadable(site: str, count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (describe_unreadable_entries(site, count),)


def _list_files(model: CivitaiModel) -> Iterator[_HubResult]:
    for version in model.versions:
        for file in version.files:
            title = f"{model.name or model.id} / {version.name or version.id} / {file.name}"
            text = ", ".join(part for part in (model.type, version.base_model, file.type) if part)
            ids = HubIds(civitai_model=model.id or None, civitai_version=version.id, civitai_file=file.id or None)
            yield _HubResult(LlmSearchResult("civitai", title, text), ids, file.name)


def _search_hugging_face(term: str, hubs: Hubs) -> _ResultPage:
    if hubs.huggingface is None:
        return _ResultPage()
    # One more than is read shows whether there are more.
    found = hubs.huggingface.search_repos(term, limit=_REPOS_PER_TERM + 1)
    results = []
    for repo in found.repos[:_REPOS_PER_TERM]:
        if is_repo_id(repo.id):
            listed = LlmSearchResult("huggingface", repo.id, ", ".join(repo.tags[:8]))
            results.append(_HubResult(listed, HubIds(repo=repo.id)))
    truncated_terms = (term,) if len(found.repos) > _REPOS_PER_TERM else ()
    return _ResultPage(
        results,
        describe_truncation("huggingface", truncated_terms),
        _describe_unreadable("Hugging Face", found.unreadable),
    )


def _search_web(web: WebSearch, term: str, policy: SearchPolicy) -> _ResultPage:
    pages = [_read_page(hit, policy) for hit in web(term)]
    return _ResultPage([page for page in pages if page is not None])


def _read_page(hit: WebHit, policy: SearchPolicy) -> _HubResult | None:
    """Return the model or repository that a web page is about; None for a page of another site.

    The text of the page is only shown to the language model, and its URL is only parsed for ids.
    """
    address = parse_hub_url(hit.url, extra_hosts=policy.extra_hosts)
    text = f"{hit.title}: {hit.text}"
    if isinstance(address, CivitaiAddress):
        title = f"model page {address.model_id or address.version_id}"
        ids = HubIds(civitai_model=address.model_id, civitai_version=address.version_id, civitai_file=address.file_id)
        return _HubResult(LlmSearchResult("civitai", title, text), ids)
    if isinstance(address, HuggingFaceFile):
        listed = LlmSearchResult("huggingface", f"{address.repo}/{address.path}", text)
        return _HubResult(listed, HubIds(repo=address.repo, path=address.path), base_name(address.path))
    repo = _parse_repo(hit.url, policy)
    if repo is None:
        return None
    return _HubResult(LlmSearchResult("huggingface", repo, text), HubIds(repo=repo))


def _parse_repo(url: str, policy: SearchPolicy) -> str | None:
    """Return the repository of a Hugging Face page, or None."""
    page = url.partition("?")[0].partition("#")[0].rstrip("/").partition("/tree/")[0]
    # With the path of a file appended, the strict parser of file URLs checks it.
    address = parse_hub_url(f"{page}/resolve/main/x", extra_hosts=policy.extra_hosts)
    if not isinstance(address, HuggingFaceFile) or address.path != "x":
        return None
    owner = address.repo.partition("/")[0]
    return None if owner in _RESERVED_OWNERS else address.repo


def _select_shown(query: ModelQuery, findings: _ModelFindings) -> list[_HubResult]:
    """Return the results to show: the files most similar in name, then the repositories in search order."""

    def count_differences(result: _HubResult) -> int:
        return min(len(find_differing_tokens(name, result.name)) for name in query.names)

    files = [result for result in findings.results.values() if result.ids.repo is None]
    repos = [result for result in findings.results.values() if result.ids.repo is not None]
    files.sort(key=count_differences)
    # Repositories fill what is left of the prompt, but files keep a minimum.
    max_files = max(_MAX_CIVITAI_RESULTS, MAX_RESULTS - len(repos))
    return [*files[:max_files], *repos][:MAX_RESULTS]


def _add_account(result: SearchResult, findings: _ModelFindings) -> SearchResult:
    """Add the account of the language model; errors and truncated searches make the result ERROR or UNCERTAIN."""
    evidence = tuple(dict.fromkeys((*result.evidence, *findings.account)))
    with_account = add_doubt(
        msgspec.structs.replace(result, evidence=evidence), SearchDoubt.CUT_SEARCH, findings.truncated
    )
    if not findings.errors:
        return with_account
    errors = tuple(dict.fromkeys(findings.errors))
    error = SearchResult(
        SearchStatus.ERROR,
        result.filename,
        result.type,
        result.searched_at,
        evidence=errors,
        doubt=SearchDoubt.UNREADABLE_ANSWER if findings.is_unreadable else None,
    )
    return merge_results([with_account, error])
