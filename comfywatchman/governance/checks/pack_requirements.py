"""Check `pack-requirements`: does production hold the packages that node packs in `custom_nodes` declare?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from comfywatchman.base.text import pluralize
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.checks.unmet_requirements import UnmetRequirement
from comfywatchman.governance.uv.requirement_files import read_requirements


@dataclass(frozen=True, slots=True)
class PackFacts:
    """A node pack with unmet requirements.

    Attributes:
        folder: Its folder in `custom_nodes`.
        unmet: The requirements that production does not satisfy.
    """

    folder: str
    unmet: tuple[UnmetRequirement, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The requirement lines whose package is not installed."""
        return tuple(requirement.line for requirement in self.unmet if requirement.installed is None)


def collect(context: CheckContext) -> tuple[PackFacts, ...]:
    """Return the packs with unmet requirements; none without a complete production environment."""
    if context.production is None or context.production.mark is None:
        return ()
    packs = []
    for folder, listing in sorted(context.node_folders.items()):
        # ComfyUI does not load a disabled pack.
        unmet = context.find_unmet(read_requirements(listing.path).lines) if listing.enabled else ()
        if unmet:
            packs.append(PackFacts(folder, unmet))
    return tuple(packs)


def judge(packs: Sequence[PackFacts], registered: Collection[str]) -> CheckResult:
    """Judge whether production holds what node packs declare.

    A missing package takes READY from workflows with nodes of the pack. Another version than the declared one only
    warns: many packs declare narrower bounds than they need.

    Args:
        packs: The packs with unmet requirements.
        registered: The ids of the registered nodes.
    """
    if not packs:
        return CheckResult(
            name=CHECK.name, status="ok", evidence="Production holds the packages that node packs declare."
        )
    lacking = [pack for pack in packs if pack.missing]
    first = (lacking or packs)[0]
    parts = []
    for pack in lacking or packs:
        lines = pack.missing or tuple(requirement.describe() for requirement in pack.unmet)
        parts.append(f"{pack.folder} ({shorten_names(lines)})")
    verb = "declares" if len(parts) == 1 else "declare"
    what = "packages that production does not have" if lacking else "other versions than production has"
    command = f"gov tx run {first.folder}" if first.folder in registered else f"gov node add --adopt {first.folder}"
    return CheckResult(
        name=CHECK.name,
        status="fail" if lacking else "warn",
        evidence=f"{pluralize(len(parts), 'node pack')} {verb} {what}: {shorten_names(parts)}.",
        action=command,
        items=tuple(sorted(pack.folder for pack in packs)),
        packs=tuple(sorted(pack.folder for pack in lacking)),
    )


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context), context.registry.plugins)


CHECK = Check("pack-requirements", _run)
