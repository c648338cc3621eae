"""The tag that each of our prompts carries in ComfyUI's queue and history, and whose the prompts in a queue are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from comfywatchman.base.json_values import as_mapping, as_text
from comfywatchman.comfyui.server.prompt_queue import PromptQueue, QueuedPrompt
from comfywatchman.jobs.records import Lease

TAG: Final = "comfywatchman"


@dataclass(frozen=True, slots=True)
class PromptTag:
    """Which run of which job a prompt belongs to.

    Attributes:
        config_name: The job.
        job_id: Its id in the database.
        attempt: The attempt.
        worker_id: Its worker, unique for each start of an agent.
    """

    config_name: str
    job_id: int
    attempt: int
    worker_id: str


class PromptOwner(StrEnum):
    """Whose a prompt is.

    Attributes:
        OTHER: Another client's, or another agent's with a database of its own.
        HELD: A run of a job whose worker still holds its lease.
        ORPHAN: A run of a job that has been given to another worker, or has ended.
    """

    OTHER = "other"
    HELD = "held"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class QueueShares:
    """The prompts in a queue by owner.

    Attributes:
        others: Prompts to wait for.
        orphans: Prompts of earlier runs of our jobs, which may be cancelled.
    """

    others: tuple[QueuedPrompt, ...] = ()
    orphans: tuple[QueuedPrompt, ...] = ()


def build_extra_data(lease: Lease) -> dict[str, Any]:
    """Return the data that a prompt of a job carries."""
    tag = {
        "job": lease.job.config_name,
        "job_id": lease.job.id,
        "attempt": lease.attempt,
        "worker": lease.worker_id,
    }
    return {TAG: tag}


def read_tag(prompt: QueuedPrompt) -> PromptTag | None:
    """Return the tag of a prompt; None for a prompt of somebody else."""
    tag = as_mapping(prompt.extra_data.get(TAG))
    name, worker_id = as_text(tag.get("job")), as_text(tag.get("worker"))
    job_id, attempt = tag.get("job_id"), tag.get("attempt")
    if name is None or worker_id is None or not isinstance(job_id, int) or not isinstance(attempt, int):
        return None
    return PromptTag(name, job_id, attempt, worker_id)


def split_queue(queue: PromptQueue, find_owner: Callable[[PromptTag], PromptOwner]) -> QueueShares:
    """Return the prompts of a queue by owner.

    Args:
        queue: The queue.
        find_owner: Returns what the database knows of a tag.
    """
    others: list[QueuedPrompt] = []
    orphans: list[QueuedPrompt] = []
    for prompt in (*queue.running, *queue.pending):
        tag = read_tag(prompt)
        if tag is not None and find_owner(tag) is PromptOwner.ORPHAN:
            orphans.append(prompt)
        else:
            others.append(prompt)
    return QueueShares(tuple(others), tuple(orphans))
