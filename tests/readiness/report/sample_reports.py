"""Reports of every kind for tests."""

from __future__ import annotations

from typing import Any

from comfywatchman.readiness.host_summary import CycleSummary, GpuSummary, HostSummary, RecentAcknowledgement
from comfywatchman.readiness.report.write import summarise
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    Environment,
    EnvironmentCheck,
    FileProblem,
    InactiveModel,
    LastAcknowledgement,
    MasterStatus,
    MissingModel,
    MissingNode,
    ModelCandidate,
    ProviderPackage,
    WorkflowEntry,
)

TIME = "2026-11-20T14:00:00Z"
HOSTILE = "<img src=x onerror=alert(1)>|`[a](https://evil.example)\n# b\x1b[2J\u202e\udcff *c*\\"


def entry(
    path: str,
    status: WorkflowStatus = WorkflowStatus.READY,
    *,
    text: str = "words",
    models: int = 0,
    nodes: int = 0,
    problems: int = 0,
) -> WorkflowEntry:
    candidate = ModelCandidate(source=text, url=f"https://x.example/{text}", name=text, reason=text)
    return WorkflowEntry(
        path=path,
        source=text,
        format="ui-1",
        container="json",
        sha256="0" * 64,
        status=status,
        models=models,
        missing_models=tuple(
            MissingModel(
                f"{text}{n}", text, text, text, text, ModelState.WRONG_FOLDER, text, text, "high", (candidate,)
            )
            for n in range(models)
        ),
        missing_nodes=tuple(
            MissingNode(f"{text}{n}", text, (text,), (ProviderPackage(text, text), ProviderPackage(text)), text, text)
            for n in range(nodes)
        ),
        inactive_models=(InactiveModel(text, None, text, ModelState.MISSING),),
        uncertain_count=0,
        problems=tuple(FileProblem(text, text, text) for _ in range(problems)),
        last_resolved_at=TIME,
        intake=LastAcknowledgement("new", text, TIME),
    )


def status(*entries: WorkflowEntry, text: str = "words", **changes: Any) -> MasterStatus:
    facts: dict[str, Any] = {
        "generated_at": TIME,
        "checked_at": TIME,
        "valid_until": TIME,
        "cycle": CycleSummary("c1", "manual", TIME, 0.25, success=True, skipped_reason=None),
        "host": HostSummary((), "none", text, text, comfyui_running=False, sample=False),
        "summary": summarise(entries),
        "workflows": entries,
        "intake": (
            RecentAcknowledgement(TIME, "renamed", text, text, text),
            RecentAcknowledgement(TIME, "new", text, text, None),
        ),
        "environment": NOT_GOVERNED,
        "problems": (text,),
    }
    return MasterStatus(**{**facts, **changes})


def mixed(text: str = "words") -> MasterStatus:
    return status(
        entry("/w/ready.json", text=text),
        entry(f"/w/{text}.json", WorkflowStatus.MISSING, text=text, models=2, nodes=2),
        entry("/w/sub/uncertain.json", WorkflowStatus.UNCERTAIN, text=text, nodes=1),
        entry("/w/broken.json", WorkflowStatus.INVALID, text=text, problems=2),
        text=text,
        environment=Environment("fail", (EnvironmentCheck(text, "fail", text, text, (text,)),), text),
        host=HostSummary(
            (GpuSummary(0, text, 24 << 30, 20 << 30),), "ok", None, None, comfyui_running=True, sample=True
        ),
        cycle=CycleSummary("c", "cron", TIME, 0.1, success=False, skipped_reason="low-vram", message=text),
    )


def never() -> MasterStatus:
    return status(
        checked_at=None,
        intake=(),
        problems=(),
        host=HostSummary((), "unknown", None, None, comfyui_running=False, sample=False),
    )


EVERY = {
    "never checked": never(),
    "nothing found": status(intake=(), problems=()),
    "all ready": status(entry("/w/a.json"), entry("/w/b.json")),
    "mixed": mixed(),
    "hostile": mixed(HOSTILE),
}
