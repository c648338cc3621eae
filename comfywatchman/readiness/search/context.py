"""The input of a search: the models to search for, and the hubs, budget and cache to search with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from comfywatchman.base.clock import Clock
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.cache import SearchCache
from comfywatchman.readiness.search.claims import ModelQuery, Proposal
from comfywatchman.readiness.search.decisions import Decisions
from comfywatchman.readiness.search.gather import Hubs
from comfywatchman.readiness.search.qwen import ModelSearch
from comfywatchman.readiness.search.verify import SearchPolicy

Backend = Literal["qwen", "civitai", "huggingface", "civarchive"]

BACKENDS: Final[tuple[Backend, ...]] = ("qwen", "civitai", "huggingface", "civarchive")

Progress = Callable[[int, int], None]
"""Called with the number of models that have a result, and the number of all models."""


@dataclass(frozen=True, slots=True)
class SearchItem:
    """A missing model, with the proposals that are known without any search.

    Attributes:
        query: The model.
        evidence: Proposals of workflows, notes and local catalogues, the most trusted first.
        notes: Sentences for the evidence of the result, such as the path of the same bytes on this host.
    """

    query: ModelQuery
    evidence: tuple[Proposal, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Configured hubs, language model, cache and limits of a search.

    Attributes:
        hubs: The hubs to query.
        policy: Which files may become FOUND.
        backend_order: Backends to query, unless a call names others.
        budget: Limits of time and requests.
        clock: For the time of each result.
        language_model: The ranking behind `qwen`; None if no language model is configured.
        cache: Results of earlier searches; None to cache nothing.
        decisions: Choices made by a person.
        configuration: Digest of the hub and model settings; results are cached for it.
        parallel: Number of models that are searched for at the same time.
    """

    hubs: Hubs
    policy: SearchPolicy
    backend_order: tuple[Backend, ...]
    budget: SearchBudget
    clock: Clock
    language_model: ModelSearch | None = None
    cache: SearchCache | None = None
    decisions: Decisions = field(default_factory=Decisions)
    configuration: str = ""
    parallel: int = 4
