"""Judging files without a cycle: nothing is acknowledged, written or remembered."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import show_path
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install import Installation
from comfywatchman.readiness.database import memory_database
from comfywatchman.readiness.facts import Facts
from comfywatchman.readiness.host_view import HostView, look_at_host
from comfywatchman.readiness.judging import Judged, judge
from comfywatchman.readiness.layout import Layout
from comfywatchman.readiness.reading import JSON_SUFFIXES, MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.run import CycleRequest, Run
from comfywatchman.readiness.workflows import Root, list_workflows


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    Attributes:
        host: What the files were held against.
        workflows: Path, content hash, what the workflow names, and its verdict, in path order.
        problems: What could not be looked at, in words.
    """

    host: HostView
    workflows: tuple[tuple[str, str, Facts, Judged], ...]
    problems: tuple[str, ...]


def look_at_files(paths: Iterable[Path], *, installation: Installation, settings: Settings, layout: Layout) -> Look:
    """Judge workflow files, or all that are in the given folders, against a host."""
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
    found = []
    problems = [f"{path}: {reason}" for path, reason in listing.problems]
    for file in reader.without_plain_media(listing.files, known=()):
        sha256 = reader.hash_file(file.path)
        facts = reader.facts(sha256, file.path) if sha256 else None
        if sha256 is None or facts is None:
            problems.append(reader.reason(show_path(file.path)))
        else:
            found.append((file.path, sha256, facts, judge(facts, host.inventory, host.judge_node, host.choices)))
    return Look(host, tuple(found), (*run.problems, *host.problems, *host.owners.problems, *problems))
