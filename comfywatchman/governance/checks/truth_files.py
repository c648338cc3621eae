"""Check `truth-files`: do pyproject.toml, uv.lock and plugins.json belong together?"""

from __future__ import annotations

from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.environments.truth_damage import find_truth_damage


def judge(damage: str | None, newest_snapshot: str | None) -> CheckResult:
    """Judge whether the truth files belong together.

    Args:
        damage: Why they do not.
        newest_snapshot: The newest snapshot that can restore them.
    """
    if damage is None:
        return CheckResult(name=CHECK.name, vital=True, status="ok", evidence="The three truth files belong together.")
    action = f"gov rollback {newest_snapshot}" if newest_snapshot else "Restore the file from a backup."
    return CheckResult(name=CHECK.name, vital=True, status="fail", evidence=f"{damage}.", action=action)


def _run(context: CheckContext) -> CheckResult:
    damage = find_truth_damage(snapshot.read_root_files(context.layout))
    return judge(damage, None if damage is None else snapshot.find_newest_intact(context.layout))


CHECK = Check("truth-files", _run)
