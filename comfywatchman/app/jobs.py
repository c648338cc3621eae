"""The job agent of this host, and what it gets from the other areas: reasons to wait, and which workflows are READY."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from comfywatchman.app.session import Session
from comfywatchman.app.supervisor_state import (
    has_job_ended_comfyui,
    has_supervisor,
    has_workspace,
    reason_to_wait_for_supervisor,
)
from comfywatchman.base.lock import is_held, read_holder
from comfywatchman.jobs.records import Actor, Interface, WaitCode, WaitReason
from comfywatchman.jobs.settings import JobSettings, build_settings

if TYPE_CHECKING:
    from pathlib import Path

    from comfywatchman.app.job_readiness import JobReadiness
    from comfywatchman.jobs.execution.services import WorkerServices
    from comfywatchman.jobs.store.job_store import JobStore

_INCIDENT_MARGIN_SECONDS: Final = 5.0


@dataclass
class JobAgent:
    """The job agent of one call of the program.

    Attributes:
        session: The session.
    """

    session: Session

    @cached_property
    def settings(self) -> JobSettings:
        """The limits and places of the agent.

        Raises:
            Failure: A `config-…` code.
        """
        settings = self.session.settings
        home = self.session.home_layout.home
        return build_settings(settings.jobs, home=home.folder, comfyui_url=settings.comfyui.url)

    @property
    def host(self) -> str:
        """The name of this host, as others see it."""
        return socket.gethostname() or "localhost"

    @contextmanager
    def open_store(self) -> Iterator[JobStore]:
        """Open the database of jobs; it is created when there is none.

        Raises:
            Failure: A `jobs-…` code of the database.
        """
        from comfywatchman.jobs.store.job_store import open_store
        from comfywatchman.jobs.store.leasing import AffinityLimits

        settings = self.settings
        affinity = AffinityLimits(settings.affinity_max_passes, settings.affinity_max_wait_seconds)
        with open_store(settings.database_url, affinity=affinity) as store:
            yield store

    @cached_property
    def readiness(self) -> JobReadiness:
        """The judgement of the workflows on this host."""
        from comfywatchman.app.job_readiness import JobReadiness

        return JobReadiness(self.session, self.settings.comfyui_url, self.host)

    def build_services(self) -> WorkerServices:
        """Return what a worker gets from the other areas."""
        from comfywatchman.app.job_readiness import describe_models
        from comfywatchman.jobs.execution.services import WorkerServices

        return WorkerServices(
            reason_to_wait=self.find_reason_to_wait,
            can_supervise=lambda: has_workspace(self.session),
            ready_workflows=lambda: self.readiness.ready,
            was_restart_ordered=self.was_restart_ordered,
            describe_models=lambda prompt: describe_models(self.session, prompt),
            clock=self.session.clock,
        )

    def was_restart_ordered(self, seconds: float) -> bool:
        """Return whether the end of ComfyUI does not count against the job: the supervisor runs and blames no prompt.

        It was ordered, then, or a client that became unreachable ended ComfyUI.

        Args:
            seconds: How long ago the job was sent to ComfyUI.
        """
        if not has_supervisor(self.session):
            return False
        since = self.session.clock.now() - timedelta(seconds=seconds + _INCIDENT_MARGIN_SECONDS)
        return not has_job_ended_comfyui(self.session, since)

    def find_reason_to_wait(self) -> WaitReason | None:
        """Return why the host is needed for something else: a cycle, a candidate, or a supervisor that is not ready."""
        cycle = self.session.layout.cycle_lock
        if is_held(cycle):
            return WaitReason(WaitCode.CYCLE_RUNNING, f"A readiness cycle runs{_describe_holder(cycle)}.")
        return self._find_candidate() or self._find_supervisor_reason()

    def _find_candidate(self) -> WaitReason | None:
        from comfywatchman.governance.store.layout import GovLayout

        lock = GovLayout(self.session.governed_root).process_lock
        if not is_held(lock):
            return None
        sentence = f"A change of the Python environment is under way{_describe_holder(lock)}."
        return WaitReason(WaitCode.CANDIDATE_RUNNING, sentence)

    def _find_supervisor_reason(self) -> WaitReason | None:
        wait = reason_to_wait_for_supervisor(self.session)
        if wait is None:
            return None
        return WaitReason(WaitCode.SUPERVISOR_NOT_READY, wait.sentence, wait.next_step)


def local_actor(interface: Interface = Interface.CLI) -> Actor:
    """Return who makes a change from this machine."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # An account without a name, as in some containers.
        name = "unknown"
    return Actor(name, interface)


def _describe_holder(lock: Path) -> str:
    holder = read_holder(lock)
    return f" ({holder.command}, since {holder.since})" if holder else ""
