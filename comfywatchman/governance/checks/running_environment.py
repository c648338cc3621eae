"""Check `running-environment`: does a running ComfyUI use the environment in production?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.server.interpreter import find_interpreters
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.environments import generation


@dataclass(frozen=True, slots=True)
class RunningEnvironment:
    """The environment of a running ComfyUI.

    Attributes:
        pid: Its process.
        folder: The environment, for people.
        is_governed: Whether it is an environment of the root, if an earlier one.
    """

    pid: int
    folder: str
    is_governed: bool


def collect(context: CheckContext) -> tuple[RunningEnvironment, ...]:
    """Return the running ComfyUIs of this folder that use another environment than production; trials are left out."""
    layout = context.layout
    key = generation.current_key(layout)
    others = []
    for pid, python in find_interpreters(context.servers):
        folder = python.parent.parent.resolve()
        is_governed = folder.parent == layout.generations.resolve()
        if is_governed and folder.name == key:
            continue
        if not _is_below(folder, layout.candidates):
            others.append(RunningEnvironment(pid, printable_path(folder), is_governed))
    return tuple(others)


def judge(others: Sequence[RunningEnvironment]) -> CheckResult:
    """Judge whether ComfyUI uses production.

    Args:
        others: The running ComfyUIs that use another environment.
    """
    foreign = [environment for environment in others if not environment.is_governed]
    if foreign:
        first = foreign[0]
        return CheckResult(
            name=CHECK.name,
            vital=True,
            status="fail",
            evidence=f"ComfyUI (process {first.pid}) runs from {first.folder}, which is not the environment in "
            "production: the checks say nothing about it.",
            action="Stop it, then run: gov run",
            items=tuple(sorted({environment.folder for environment in foreign})),
        )
    if others:
        return CheckResult(
            name=CHECK.name,
            vital=True,
            status="warn",
            evidence=f"ComfyUI (process {others[0].pid}) was started before the last change and uses an earlier "
            "environment.",
            action="Restart ComfyUI.",
            items=tuple(sorted({environment.folder for environment in others})),
        )
    evidence = "No ComfyUI runs from another environment than production."
    return CheckResult(name=CHECK.name, vital=True, status="ok", evidence=evidence)


def _is_below(folder: Path, parent: Path) -> bool:
    return parent.resolve() in folder.parents


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context))


CHECK = Check("running-environment", _run)
