"""Which jobs this host can run: their workflows and models, judged as `scan` does, published for all hosts to see."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from comfywatchman.app.environment import environment_checks, observed_loaders, production_folder
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.text import shorten_list

if TYPE_CHECKING:
    from comfywatchman.comfyui.server.prompts import Prompt
    from comfywatchman.jobs.files.workflows import JobWorkflow
    from comfywatchman.jobs.records import JobSpec
    from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PAUSE_SHARE: Final = 20
"""A judgement that takes a second is repeated after twenty at the earliest."""

_MIN_PAUSE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 2.0
"""How often a waiting thread looks for jobs that name other models; such jobs are judged at once."""

_LOOK_SHARE: Final = 2

log = logging.getLogger("comfywatchman.jobs.readiness")


class ReadinessBoard(Protocol):
    """Where a host finds the jobs to judge, and publishes its judgement."""

    def publish_readiness(self, host: str, ready: Mapping[str, bool], reasons: Mapping[str, str]) -> None:
        """Replace what a host says of its workflows."""

    def list_variants(self) -> Sequence[JobSpec]:
        """Return one waiting job for each choice of models that waiting jobs name."""


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
        self._judged: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> frozenset[str] | None:
        """The workflows and readiness keys that are READY; None when nothing can be judged, and every job is tried."""
        return self._ready

    def refresh(self, board: ReadinessBoard, workflows: Mapping[str, JobWorkflow]) -> None:
        """Judge the workflows and the models of waiting jobs now, and publish the result.

        Raises:
            Failure: The host cannot be judged, or the database cannot be used.
        """
        verdicts = self.judge(workflows, board.list_variants())
        self._judged = frozenset(verdicts or ())
        if verdicts is None:
            self._ready = None
            return
        reasons = {workflow_id: reason for workflow_id, reason in verdicts.items() if reason}
        board.publish_readiness(self._host, {name: not reason for name, reason in verdicts.items()}, reasons)
        self._ready = frozenset(verdicts) - frozenset(reasons)

    def judge(self, workflows: Mapping[str, JobWorkflow], variants: Iterable[JobSpec] = ()) -> dict[str, str] | None:
        """Return why each workflow and each variant cannot run, empty when it is READY.

        What is judged is the prompt that a job sends: the template with the defaults of workflows.yaml and, for a
        variant, the inputs of the job. Input files of the user do not count: each job brings its own.

        Args:
            workflows: The workflows.
            variants: Jobs whose inputs name models; the result has their `readiness_key`.

        Returns:
            The reasons; None without a ComfyUI on this host to judge.

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
        try:
            with tempfile.TemporaryDirectory(prefix="comfywatchman-") as folder:
                reasons, paths = _write_prompts(Path(folder), workflows, variants)
                result = scan_files(
                    paths,
                    installation=installation,
                    settings=msgspec.structs.replace(settings, workflows=lenient),
                    layout=session.layout,
                    environment_checks=environment_checks(session),
                    observed_loaders=observed_loaders(session),
                    production=production_folder(session),
                )
        except OSError as error:
            raise unwritable_failure(Path(tempfile.gettempdir()), error) from error
        judged = {workflow.path: describe_obstacles(workflow.verdict) for workflow in result.workflows}
        unread = "Its prompt could not be read."
        for path, name in paths.items():
            # A job with several prompts is ready when all of them are.
            reasons[name] = reasons.get(name) or judged.get(str(path), unread)
        return reasons

    def start(self, board: ReadinessBoard, workflows: Any) -> None:
        """Judge the workflows in a thread until `close`.

        Args:
            board: Where the judgement is published.
            workflows: Returns the workflows as they are now.
        """
        self._thread = threading.Thread(target=self._run, args=(board, workflows), name="jobs-readiness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a judgement under way is not waited for."""
        self._stop.set()

    def _run(self, board: ReadinessBoard, workflows: Any) -> None:
        try:
            self._repeat(board, workflows)
        finally:
            if not self._stop.is_set():
                # After an unexpected error nobody judges any more: every job is tried instead of waiting forever.
                self._ready = None

    def _repeat(self, board: ReadinessBoard, workflows: Any) -> None:
        clock = self._session.clock
        seconds = 0.0
        while not self._stop.is_set():
            self._wait_for_turn(board, seconds)
            if self._stop.is_set():
                return
            began = clock.monotonic()
            try:
                self.refresh(board, workflows())
            except Failure as failure:
                # The last judgement stands until the next one.
                log.warning("workflows not judged", extra={"code": failure.code, "error": failure.message})
            seconds = clock.monotonic() - began

    def _wait_for_turn(self, board: ReadinessBoard, seconds: float) -> None:
        """Wait until the next judgement is due, or jobs name models that were not judged yet.

        Args:
            board: Where the jobs are.
            seconds: How long the last judgement took.
        """
        clock = self._session.clock
        due = clock.monotonic() + max(_MIN_PAUSE_SECONDS, _PAUSE_SHARE * seconds)
        pause = max(_LOOK_SECONDS, _LOOK_SHARE * seconds)
        while (rest := due - clock.monotonic()) > 0 and not self._stop.wait(min(rest, pause)):
            if self._ready is not None and self._has_unjudged(board):
                return

    def _has_unjudged(self, board: ReadinessBoard) -> bool:
        try:
            return any(spec.readiness_key not in self._judged for spec in board.list_variants())
        except Failure:
            # The database is away; the judgement that is due next reports it.
            return False


def _write_prompts(
    folder: Path, workflows: Mapping[str, JobWorkflow], variants: Iterable[JobSpec]
) -> tuple[dict[str, str], dict[Path, str]]:
    """Write each prompt to a file of its own.

    Returns:
        Why some of them cannot be written, by workflow or readiness key; and the name that each file stands for.
    """
    reasons: dict[str, str] = {}
    paths: dict[Path, str] = {}
    named = [(workflow_id, _build_prompts(workflows, workflow_id, None)) for workflow_id in workflows]
    named += [(spec.readiness_key, _build_prompts(workflows, spec.workflow_id, spec)) for spec in variants]
    for name, prompts in named:
        try:
            for prompt in prompts:
                path = folder / f"{len(paths)}.json"
                path.write_text(json.dumps(prompt), "utf-8")
                paths[path] = name
        except Failure as failure:
            reasons[name] = failure.message
    return reasons, paths


def _build_prompts(
    workflows: Mapping[str, JobWorkflow], workflow_id: str, spec: JobSpec | None
) -> Iterator[dict[str, Any]]:
    """Yield the prompts of a job, or that of a workflow alone, without uploaded files.

    Raises:
        Failure: The workflow is unknown, or its template cannot be used.
    """
    from comfywatchman.comfyui.loaders.table import load_builtin_table
    from comfywatchman.jobs.files.model_inputs import find_readiness_key
    from comfywatchman.jobs.files.payload import fill_template, get_workflow
    from comfywatchman.jobs.files.templates import load_template

    entry = get_workflow(workflow_id, workflows)
    graph = load_template(Path(entry["template_path"])).graph
    inputs = {**entry["defaults"], **({} if spec is None else spec.inputs)}
    files = {name for name, target in entry["inputs"].items() if target["kind"] == "file"}
    table = load_builtin_table()
    seen: set[str] = set()
    for repeat in ({},) if spec is None or not spec.repeats else spec.repeats:
        # Of runs that differ in seeds and texts only, one is enough.
        key = find_readiness_key(workflow_id, [repeat], entry, graph, table)
        if key not in seen:
            seen.add(key)
            values = {name: value for name, value in {**inputs, **repeat}.items() if name not in files}
            yield fill_template(graph, values, entry)


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
