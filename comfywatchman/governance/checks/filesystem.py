"""Check `filesystem`: does the governed root lie on a local disk?"""

from __future__ import annotations

from comfywatchman.base.files import printable_path
from comfywatchman.base.filesystem import find_network_filesystem
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult


def judge(network: str | None, root: str) -> CheckResult:
    """Judge the filesystem of the governed root.

    Args:
        network: The type of its network filesystem; None on a local disk.
        root: The root, as it is shown.
    """
    if network is None:
        return CheckResult(name=CHECK.name, status="ok", evidence=f"{root} lies on a disk of this host.")
    return CheckResult(
        name=CHECK.name,
        status="warn",
        evidence=f"{root} lies on a network filesystem ({network}): a lock may not keep another machine out.",
        action="Set [governance] root in config.toml to a folder on a disk of this machine.",
    )


def _run(context: CheckContext) -> CheckResult:
    root = context.layout.root
    return judge(find_network_filesystem(root), printable_path(root))


CHECK = Check("filesystem", _run)
