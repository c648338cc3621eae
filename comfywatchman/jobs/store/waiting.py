"""Why pending jobs wait: a pause, no worker, no host on which their workflow is ready, or other jobs before them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.text import pluralize, shorten_list
from comfywatchman.jobs.records import HostRecord, Job, WaitCode, WaitingJob, WaitReason

_HOSTS_SHOWN: Final = 3
_NODE_AND_INPUT: Final = re.compile(r"(^|, )[^\s,.=]+\.[^\s,=]+=")
_HASH: Final = re.compile(r"(?<=…) [0-9a-f]{16}$")

PAUSED: Final = WaitReason(
    WaitCode.PAUSED, "The queue is paused: no host takes another job.", "Resume it: comfywatchman jobs resume"
)
NO_WORKER: Final = WaitReason(
    WaitCode.NO_WORKER, "No agent is running that could take jobs.", "Start one: comfywatchman jobs start"
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What decides whether pending jobs can start.

    Attributes:
        is_paused: Whether a person paused the queue.
        hosts: All hosts with their workers, and the workflows that are ready on each.
    """

    is_paused: bool
    hosts: tuple[HostRecord, ...]


def explain_jobs(pending: Collection[Job], fleet: Fleet) -> tuple[WaitingJob, ...]:
    """Return why each pending job waits, in the given order."""
    explained = []
    ahead = 0
    for job in pending:
        reason = _find_obstacle(job, fleet)
        if reason is None:
            reason = _describe_place(ahead)
            ahead += 1
        explained.append(WaitingJob(job=job, reason=reason))
    return tuple(explained)


def explain_job(job: Job, ahead: int, fleet: Fleet) -> WaitReason:
    """Return why one pending job waits, when a number of others come before it."""
    return _find_obstacle(job, fleet) or _describe_place(ahead)


def _find_obstacle(job: Job, fleet: Fleet) -> WaitReason | None:
    if fleet.is_paused:
        return PAUSED
    awake = [host for host in fleet.hosts if any(worker.is_alive for worker in host.workers)]
    if not awake:
        return NO_WORKER
    key = job.spec.readiness_key or job.workflow_id
    reasons: dict[str, str] = {}
    unjudged: list[str] = []
    for host in awake:
        # A host that has published nothing takes every job.
        if host.published_at is None or key in host.ready:
            return None
        if key not in host.reasons and (job.workflow_id in host.ready or job.workflow_id in host.reasons):
            unjudged.append(host.host)
        reasons[host.host] = host.reasons.get(key) or "it does not know the workflow"
    shown = _describe_key(job.workflow_id, key)
    if unjudged:
        return WaitReason(
            WaitCode.NOT_JUDGED,
            f"{shown} has not been judged yet on {shorten_list(unjudged)}.",
            "It is judged shortly, without anything to do.",
        )
    return WaitReason(
        WaitCode.NO_HOST_READY,
        f"No host can run {shown}: {_describe_hosts(reasons)}.",
        "Remove the reason on one of them, or cancel the job.",
    )


def _describe_key(workflow_id: str, key: str) -> str:
    """Return the workflow and the models of a readiness key, without their nodes and inputs."""
    start = f"{workflow_id} with "
    if not key.startswith(start):
        return key
    return start + _HASH.sub("", _NODE_AND_INPUT.sub(r"\1", key.removeprefix(start)))


def _describe_hosts(reasons: Mapping[str, str]) -> str:
    shown = [f"{host}: {reason.rstrip('.')}" for host, reason in list(reasons.items())[:_HOSTS_SHOWN]]
    if len(reasons) > _HOSTS_SHOWN:
        shown.append(f"and {len(reasons) - _HOSTS_SHOWN} more hosts")
    return "; ".join(shown)


def _describe_place(ahead: int) -> WaitReason:
    if ahead == 0:
        return WaitReason(WaitCode.QUEUED, "It is next.")
    return WaitReason(WaitCode.QUEUED, f"{pluralize(ahead, 'job')} before it.")
