"""Check `deny-list`: is a package or node installed that is known to do harm?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.governance.checks.check_cache import list_names
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.nodes.deny_list import DenyEntry, DenyList, build_deny_list
from comfywatchman.governance.store.records import InstalledPackage, NodeRegistry

_MAX_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class DeniedItem:
    """An installed package or node that is on the deny list.

    Attributes:
        name: Its name.
        reason: Why it is on the list.
        action: The command that removes it.
        is_blocked: Whether it is known to do harm; False for an entry that only needs attention.
    """

    name: str
    reason: str
    action: str
    is_blocked: bool = True


def collect(context: CheckContext) -> tuple[DeniedItem, ...]:
    """Return the packages in production and the nodes that are on the deny list."""
    policy = context.gov.settings.policy
    deny_list = build_deny_list(policy.deny, policy.allow)
    packages = () if context.production is None else context.production.installed
    folders = list_names(context.gov.custom_nodes)
    return (
        *_find_harmful_packages(deny_list, sorted(packages)),
        *_find_harmful_nodes(deny_list, folders, context.registry),
    )


def judge(items: Sequence[DeniedItem]) -> CheckResult:
    """Judge whether something harmful is installed."""
    if not items:
        return CheckResult(name=CHECK.name, status="ok", evidence="Nothing that is on the deny list is installed.")
    evidence = "; ".join(f"{item.name}: {item.reason}" for item in items[:_MAX_NAMED])
    if len(items) > _MAX_NAMED:
        evidence = f"{evidence} (and {len(items) - _MAX_NAMED} more)"
    is_any_blocked = any(item.is_blocked for item in items)
    return CheckResult(
        name=CHECK.name,
        status="fail" if is_any_blocked else "warn",
        evidence=evidence,
        # Several items may have the same action.
        action="; ".join(dict.fromkeys(item.action for item in items)),
        items=tuple(sorted(item.name for item in items)),
    )


def _find_harmful_packages(deny_list: DenyList, packages: Iterable[InstalledPackage]) -> list[DeniedItem]:
    denied = []
    for package in packages:
        entry = deny_list.find_package(package.name, package.version)
        if entry is not None:
            denied.append(_build_item(f"{package.name} {package.version}", entry, "gov snapshot list"))
    return denied


def _find_harmful_nodes(deny_list: DenyList, folders: Iterable[str], registry: NodeRegistry) -> list[DeniedItem]:
    denied = []
    for folder in folders:
        # A disabled node is still on the disk, and one rename away from being loaded.
        node_id = folder.removesuffix(".disabled")
        node = registry.plugins.get(node_id)
        entry = deny_list.find_pack(node_id, "" if node is None else node.git_url)
        if entry is not None:
            registered_action = f"gov node remove {node_id} --purge-code"
            action = f"Delete custom_nodes/{folder}." if node is None else registered_action
            denied.append(_build_item(f"node {node_id}", entry, action))
    return denied


def _build_item(name: str, entry: DenyEntry, action: str) -> DeniedItem:
    return DeniedItem(name, f"{entry.reason} ({entry.source})", action, is_blocked=entry.level == "blocked")


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context))


CHECK = Check("deny-list", _run)
