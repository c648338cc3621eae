"""Dry run: judge workflow files without a cycle; nothing is acknowledged or written."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import printable_path
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED, ObservedLoaders
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot, inspect_host
from comfywatchman.readiness.assessment.reader import JSON_SUFFIXES, MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.context import CycleContext, CycleRequest, EnvironmentChecks
from comfywatchman.readiness.database import open_memory_database
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.status import MissingInput
from comfywatchman.readiness.verdicts.compose import compose_verdict, describe_start_problem
from comfywatchman.readiness.verdicts.input_files import resolve_input_folders
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict, judge_workflow
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.readiness.workflows.availability import explain_unread_file
from comfywatchman.readiness.workflows.discovery import WatchedRoot, list_workflows


class ScannedWorkflow(NamedTuple):
    """One judged workflow file.

    Attributes:
        path: Absolute path.
        sha256: Hash of the file.
        facts: Its references and requirements.
        verdict: Its final verdict.
        missing_inputs: Its missing input files.
    """

    path: str
    sha256: str
    facts: WorkflowFacts
    verdict: WorkflowVerdict
    missing_inputs: tuple[MissingInput, ...]


class UnreadPath(NamedTuple):
    """A workflow file or a folder that could not be read: its printable path, and why."""

    path: str
    obstacle: Obstacle


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """Result of a dry run.

    Attributes:
        host: The host that the workflows were judged against.
        workflows: The judged workflows, in path order.
        problems: Files and folders that could not be read, as text.
        unread: Files and folders that could not be read.
    """

    host: HostSnapshot
    workflows: tuple[ScannedWorkflow, ...]
    problems: tuple[str, ...]
    unread: tuple[UnreadPath, ...] = ()


def scan_files(
    paths: Iterable[Path],
    *,
    installation: Installation,
    settings: Settings,
    layout: ReadinessLayout,
    is_sample: bool = False,
    environment_checks: EnvironmentChecks | None = None,
    observed_loaders: ObservedLoaders = NOTHING_OBSERVED,
    production: Path | None = None,
) -> DryRunResult:
    """Judge workflow files, or all workflows in the given folders, against a host; its environment is not checked."""
    request = CycleRequest(
        trigger="manual",
        settings=settings,
        layout=layout,
        installation=installation,
        roots=tuple(WatchedRoot(path.absolute(), "cli") for path in paths),
        sample=is_sample,
        clock=SystemClock(),
        log=logging.getLogger("comfywatchman.look"),
        may_write=False,
        environment_checks=environment_checks,
        observed_loaders=observed_loaders,
        production=production,
    )
    cycle = CycleContext.begin(request)
    with closing(open_memory_database()) as database:
        host = inspect_host(cycle, database)
        with closing(host.providers):
            return _judge_files(cycle, host)


def _judge_files(cycle: CycleContext, host: HostSnapshot) -> DryRunResult:
    request = cycle.request
    # Without an index the reader stores nothing.
    reader = WorkflowReader(None, host.table, request.settings.workflows.max_file_mb << 20)
    listing = list_workflows(request.roots, suffixes=JSON_SUFFIXES | MEDIA_SUFFIXES)
    folders = resolve_input_folders(request.installation, required=request.settings.workflows.require_inputs)
    workflows: list[ScannedWorkflow] = []
    unread = [UnreadPath(printable_path(gap.path), gap.obstacle) for gap in listing.gaps if gap.is_certain]
    problems = [f"{path}: {reason}" for path, reason in listing.problems]
    problems += [describe_start_problem(problem) for problem in host.start_problems]
    for file in reader.exclude_plain_media(listing.files, known=()):
        sha256 = reader.hash_file(file.path)
        facts = None
        if sha256 is not None:
            facts = reader.facts(sha256, file.path)
        if sha256 is None or facts is None:
            problems.append(reader.describe_failure(printable_path(file.path)))
            obstacle = explain_unread_file(file.path, reader.failures.get(file.path))
            unread.append(UnreadPath(printable_path(file.path), obstacle))
            continue
        verdict = judge_workflow(facts, host.inventory, host.judge_node, host.choices, host.load_rules())
        missing = folders.find_missing(verdict.inputs)
        final = compose_verdict(
            verdict, missing, start_problems=host.start_problems, is_server_running=host.comfyui_running
        )
        verdict = msgspec.structs.replace(verdict, status=final.status, problems=final.problems)
        workflows.append(ScannedWorkflow(file.path, sha256, facts, verdict, missing))
    all_problems = (*cycle.problems, *host.problems, *host.providers.problems, *folders.problems, *problems)
    return DryRunResult(host, tuple(workflows), all_problems, tuple(unread))
