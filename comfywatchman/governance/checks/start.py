"""Check `start`: has ComfyUI started in the environment that is in production?"""

from __future__ import annotations

from comfywatchman.base.files import printable_path
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.trial.production_start import ProductionStart, read_start
from comfywatchman.governance.uv.module_packages import describe_missing_module


def judge(start: ProductionStart | None) -> CheckResult:
    """Judge whether ComfyUI starts in production.

    Args:
        start: The last start of the environment in production; None when gov has not started it by itself.
    """
    if start is None:
        evidence = "No failed start of ComfyUI in production is recorded."
        return CheckResult(name=CHECK.name, vital=True, status="ok", evidence=evidence)
    if not start.has_started:
        action = f"Look into {printable_path(start.log)}, then run: gov init"
        if start.missing_module is not None:
            action = describe_missing_module(start.missing_module)
        return CheckResult(
            name=CHECK.name,
            vital=True,
            status="fail",
            evidence=f"Production is unproven: ComfyUI did not start in it. {start.reason}",
            action=action,
        )
    if start.import_failures:
        return CheckResult(
            name=CHECK.name,
            vital=True,
            status="warn",
            evidence=f"ComfyUI started in production; packs could not be imported: "
            f"{shorten_names(sorted(start.import_failures))}.",
            action="comfywatchman explain WORKFLOW",
            items=tuple(sorted(start.import_failures)),
        )
    return CheckResult(name=CHECK.name, vital=True, status="ok", evidence="ComfyUI started in production.")


def _run(context: CheckContext) -> CheckResult:
    return judge(read_start(context.layout))


CHECK = Check("start", _run)
