"""Check `comfyui-requirements`: does production satisfy the requirements that ComfyUI has now?

They change with an update of ComfyUI (`git pull`), which does not go through gov.
"""

from __future__ import annotations

from collections.abc import Sequence

from comfywatchman.base.files import read_regular
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.checks.unmet_requirements import UnmetRequirement
from comfywatchman.governance.environments.init import has_manager_option, read_base_requirements
from comfywatchman.governance.environments.snapshot import MAX_TRUTH_BYTES
from comfywatchman.governance.store import truth

_INIT = "gov init"
"""Locks the present requirements of ComfyUI, and builds the environment."""


def judge(unmet: Sequence[UnmetRequirement], changed: Sequence[str]) -> CheckResult:
    """Judge whether production satisfies the requirements of ComfyUI.

    Args:
        unmet: The requirements that production does not satisfy.
        changed: The lines that were added to or removed from ComfyUI's requirements since they were locked.
    """
    if unmet:
        lines = [requirement.describe() for requirement in unmet]
        return CheckResult(
            name=CHECK.name,
            vital=True,
            status="fail",
            evidence=f"ComfyUI requires packages that production does not have: {shorten_names(lines)}.",
            action=_INIT,
            items=tuple(sorted(requirement.line for requirement in unmet)),
        )
    if changed:
        return CheckResult(
            name=CHECK.name,
            vital=True,
            status="warn",
            evidence=f"ComfyUI's requirements changed since they were locked; production satisfies the new ones: "
            f"{shorten_names(sorted(changed))}.",
            action=_INIT,
            items=tuple(sorted(changed)),
        )
    evidence = "Production satisfies the requirements of ComfyUI, which are those that were locked."
    return CheckResult(name=CHECK.name, vital=True, status="ok", evidence=evidence)


def _run(context: CheckContext) -> CheckResult:
    lines = read_base_requirements(context.gov.comfyui, with_manager=has_manager_option(context.gov.settings))
    project = read_regular(context.layout.pyproject, max_bytes=MAX_TRUTH_BYTES).decode("utf-8", "replace")
    locked = truth.parse_groups(project).get(truth.BASE_GROUP, ())
    # Without requirements.txt nothing is known of ComfyUI's present requirements.
    changed = set(lines) ^ set(locked) if lines else set()
    return judge(context.find_unmet(lines), sorted(changed))


CHECK = Check("comfyui-requirements", _run)
