"""Which workflows of jobs are READY on this host, judged as `scan` does, and published for all hosts to see."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from comfywatchman.app.environment import environment_checks, observed_loaders, production_folder
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.text import shorten_list

if TYPE_CHECKING:
    from comfywatchman.comfyui.server.prompts import Prompt
    from comfywatchman.jobs.files.workflows import JobWorkflow
    from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PAUSE_SHARE: Final = 20
"""A judgement that takes a second is repeated after twenty at the earliest."""

_MIN_PAUSE_SECONDS: Final = 60.0

log = logging.getLogger("comfywatchman.jobs.readiness")


class ReadinessBoard(Protocol):
    """Where a host publishes its judgement."""

    def publish_readiness(self, host: str, ready: Mapping[str, bool], reasons: Mapping[str, str]) -> None:
        """Replace what a host says of its workflows."""


class JobReadiness:
    """Judges the workflows of jobs against this host, again and again while an agent runs.

    Args:
        session: The session.
        comfyui_url: The address of the ComfyUI that runs the jobs.
        host: The name of this host.
    """

    def __init__(self, session: Session, comfyui_url: str, host: str) -> None:
        self._session = session
        self._host = host
        self._is_local = (urlsplit(comfyui_url).hostname or "") in LOOPBACK_NAMES
        self._ready: frozenset[str] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> frozenset[str] | None:
        """The workflows that are READY; None when they cannot be judged, and every one may be tried."""
        return self._ready

    def refresh(self, board: ReadinessBoard, workflows: Mapping[str, JobWorkflow]) -> None:
        """Judge the workflows now, and publish the result.

        Raises:
            Failure: The host cannot be judged, or the database cannot be used.
        """
        verdicts = self.judge(workflows)
        if verdicts is None:
            self._ready = None
            return
        reasons = {workflow_id: reason for workflow_id, reason in verdicts.items() if reason}
        board.publish_readiness(self._host, {name: not reason for name, reason in verdicts.items()}, reasons)
        self._ready = frozenset(verdicts) - frozenset(reasons)

    def judge(self, workflows: Mapping[str, JobWorkflow]) -> dict[str, str] | None:
        """Return why each workflow cannot run, empty when it is READY; None without a ComfyUI on this host to judge.

        Input files of the user do not count: each job brings its own.

        Raises:
            Failure: The host cannot be judged.
        """
        from comfywatchman.readiness.assessment.dry_run import scan_files

        session = self._session
        installation = session.installation() if self._is_local else None
        if installation is None or session.is_sample:
            return None
        settings = session.settings
        lenient = msgspec.structs.replace(settings.workflows, require_inputs=False)
        result = scan_files(
            [Path(entry["template_path"]) for entry in workflows.values()],
            installation=installation,
            settings=msgspec.structs.replace(settings, workflows=lenient),
            layout=session.layout,
            environment_checks=environment_checks(session),
            observed_loaders=observed_loaders(session),
            production=production_folder(session),
        )
        judged = {workflow.path: describe_obstacles(workflow.verdict) for workflow in result.workflows}
        unread = "Its template could not be read."
        return {name: judged.get(entry["template_path"], unread) for name, entry in workflows.items()}

    def start(self, board: ReadinessBoard, workflows: Any) -> None:
        """Judge the workflows in a thread until `close`.

        Args:
            board: Where the judgement is published.
            workflows: Returns the workflows as they are now.
        """
        self._thread = threading.Thread(
            target=self._repeat, args=(board, workflows), name="jobs-readiness", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the thread; a judgement under way is not waited for."""
        self._stop.set()

    def _repeat(self, board: ReadinessBoard, workflows: Any) -> None:
        clock = self._session.clock
        pause_seconds = _MIN_PAUSE_SECONDS
        while not self._stop.wait(pause_seconds):
            began = clock.monotonic()
            try:
                self.refresh(board, workflows())
            except Failure as failure:
                # The last judgement stands until the next one.
                log.warning("workflows not judged", extra={"code": failure.code, "error": failure.message})
            pause_seconds = max(_MIN_PAUSE_SECONDS, _PAUSE_SHARE * (clock.monotonic() - began))


def describe_obstacles(verdict: WorkflowVerdict) -> str:
    """Return why a workflow is not READY, in one line; empty when it is."""
    from comfywatchman.readiness.states import WorkflowStatus

    if verdict.status is WorkflowStatus.READY:
        return ""
    parts: list[str] = []
    if verdict.missing_models:
        names = [model.name for model in verdict.missing_models]
        parts.append(f"models: {shorten_list(names)}")
    if verdict.missing_nodes:
        names = [node.class_type for node in verdict.missing_nodes]
        parts.append(f"nodes: {shorten_list(names)}")
    if verdict.refused_inputs:
        names = [f"{refused.input} {refused.problem}" for refused in verdict.refused_inputs]
        parts.append(f"refused inputs: {shorten_list(names)}")
    parts += [problem.message for problem in verdict.problems]
    return f"{verdict.status.value}: {'; '.join(parts)}" if parts else verdict.status.value


def describe_models(session: Session, prompt: Prompt) -> list[dict[str, Any]]:
    """Return name, folder and, where it is known, hash of the models that a prompt names, from the last cycle."""
    from comfywatchman.base.state.state_file import read_state
    from comfywatchman.readiness.models.cache_file import ModelCache

    cache = read_state(session.layout.model_cache, ModelCache, only_look=True)
    if not isinstance(cache, ModelCache):
        return []
    values = {
        value for node in prompt.values() for value in (node.get("inputs") or {}).values() if isinstance(value, str)
    }
    return [
        {"name": model.name, "folder": folder, "size_bytes": model.size, "sha256": model.sha256}
        for folder, models in sorted(cache.folders.items())
        for model in models
        if model.name in values
    ]
