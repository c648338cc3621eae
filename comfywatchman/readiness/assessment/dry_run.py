"""Judging files without a cycle: nothing is acknowledged, written or remembered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import show_path
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.references.observed import NOTHING_TRIED, TriedLoaders
from comfywatchman.readiness.assessment.host_snapshot import HostView, look_at_host
from comfywatchman.readiness.assessment.reader import JSON_SUFFIXES, MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.context import CycleRequest, EnvironmentChecks, Run
from comfywatchman.readiness.database import memory_database
from comfywatchman.readiness.layout import Layout
from comfywatchman.readiness.status import MissingInput
from comfywatchman.readiness.verdicts.input_files import input_folders, status_with_inputs
from comfywatchman.readiness.verdicts.workflow import Judged, judge
from comfywatchman.readiness.workflow_facts import Facts
from comfywatchman.readiness.workflows.discovery import Root, list_workflows


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    Attributes:
        host: What the files were held against.
        workflows: Path, content hash, what the workflow names, and its verdict, in path order.
        problems: What could not be looked at, in words.
        missing_inputs: By content hash, the files of the person's own that are not there.
    """

    host: HostView
    workflows: tuple[tuple[str, str, Facts, Judged], ...]
    problems: tuple[str, ...]
    missing_inputs: Mapping[str, tuple[MissingInput, ...]]


def look_at_files(
    paths: Iterable[Path],
    *,
    installation: Installation,
    settings: Settings,
    layout: Layout,
    environment_checks: EnvironmentChecks | None = None,
    tried_loaders: TriedLoaders = NOTHING_TRIED,
) -> Look:
    """Judge workflow files, or all that are in the given folders, against a host; its environment is not checked."""
    roots = tuple(Root(path.absolute(), "cli") for path in paths)
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
    run = Run.begin(request)
    with closing(memory_database()) as database:
        host = look_at_host(run, database)
        with closing(host.owners):
            return _judge_listed(run, host)


def _judge_listed(run: Run, host: HostView) -> Look:
    settings, roots = run.request.settings, run.request.roots
    reader = WorkflowReader(None, host.table, settings.workflows.max_file_mb << 20)
    listing = list_workflows(roots, suffixes=JSON_SUFFIXES | MEDIA_SUFFIXES)
    inputs = input_folders(run.request.installation, required=settings.workflows.require_inputs)
    missing: dict[str, tuple[MissingInput, ...]] = {}
    found = []
    problems = [f"{path}: {reason}" for path, reason in listing.problems]
    for file in reader.without_plain_media(listing.files, known=()):
        sha256 = reader.hash_file(file.path)
        facts = reader.facts(sha256, file.path) if sha256 else None
        if sha256 is None or facts is None:
            problems.append(reader.reason(show_path(file.path)))
        else:
            judged = judge(facts, host.inventory, host.judge_node, host.choices, host.rules)
            missing[sha256] = inputs.missing(judged.inputs)
            status = status_with_inputs(judged.status, missing[sha256])
            found.append((file.path, sha256, facts, msgspec.structs.replace(judged, status=status)))
    problems = [*run.problems, *host.problems, *host.owners.problems, *inputs.problems, *problems]
    return Look(host, tuple(found), tuple(problems), missing)
