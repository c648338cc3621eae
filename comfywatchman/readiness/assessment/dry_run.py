"""Judging files without a cycle: nothing is acknowledged, written or remembered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import printable_path
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED, ObservedLoaders
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot, inspect_host
from comfywatchman.readiness.assessment.reader import JSON_SUFFIXES, MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.context import CycleContext, CycleRequest, EnvironmentChecks
from comfywatchman.readiness.database import open_memory_database
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.status import MissingInput
from comfywatchman.readiness.verdicts.compose import compose_verdict
from comfywatchman.readiness.verdicts.input_files import resolve_input_folders
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict, judge_workflow
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.readiness.workflows.discovery import WatchedRoot, list_workflows


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """What was seen.

    Attributes:
        host: What the files were held against.
        workflows: Path, content hash, what the workflow names, and its verdict, in path order.
        problems: What could not be looked at, in words.
        missing_inputs: By content hash, the files of the person's own that are not there.
    """

    host: HostSnapshot
    workflows: tuple[tuple[str, str, WorkflowFacts, WorkflowVerdict], ...]
    problems: tuple[str, ...]
    missing_inputs: Mapping[str, tuple[MissingInput, ...]]


def scan_files(
    paths: Iterable[Path],
    *,
    installation: Installation,
    settings: Settings,
    layout: ReadinessLayout,
    environment_checks: EnvironmentChecks | None = None,
    tried_loaders: ObservedLoaders = NOTHING_OBSERVED,
) -> DryRunResult:
    """Judge workflow files, or all that are in the given folders, against a host; its environment is not checked."""
    roots = tuple(WatchedRoot(path.absolute(), "cli") for path in paths)
    request = CycleRequest(
        trigger="manual",
        settings=settings,
        layout=layout,
        installation=installation,
        roots=roots,
        sample=False,
        clock=SystemClock(),
        log=logging.getLogger("comfywatchman.look"),
        keeps=False,
        environment_checks=environment_checks,
        tried_loaders=tried_loaders,
    )
    run = CycleContext.begin(request)
    with closing(open_memory_database()) as database:
        host = inspect_host(run, database)
        with closing(host.owners):
            return _judge_files(run, host)


def _judge_files(run: CycleContext, host: HostSnapshot) -> DryRunResult:
    settings, roots = run.request.settings, run.request.roots
    reader = WorkflowReader(None, host.table, settings.workflows.max_file_mb << 20)
    listing = list_workflows(roots, suffixes=JSON_SUFFIXES | MEDIA_SUFFIXES)
    inputs = resolve_input_folders(run.request.installation, required=settings.workflows.require_inputs)
    missing: dict[str, tuple[MissingInput, ...]] = {}
    found = []
    problems = [f"{path}: {reason}" for path, reason in listing.problems]
    for file in reader.exclude_plain_media(listing.files, known=()):
        sha256 = reader.hash_file(file.path)
        facts = reader.facts(sha256, file.path) if sha256 else None
        if sha256 is None or facts is None:
            problems.append(reader.reason(printable_path(file.path)))
        else:
            judged = judge_workflow(facts, host.inventory, host.judge_node, host.choices, host.rules)
            missing[sha256] = inputs.missing(judged.inputs)
            status = compose_verdict(judged, missing[sha256]).status
            found.append((file.path, sha256, facts, msgspec.structs.replace(judged, status=status)))
    problems = [*run.problems, *host.problems, *host.owners.problems, *inputs.problems, *problems]
    return DryRunResult(host, tuple(found), tuple(problems), missing)
