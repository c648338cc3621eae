"""Parts of the verdicts on classes of installed packs: names, packages and next steps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.facts import NodeState, NodeVerdict
from comfywatchman.readiness.states import NodeRemedy
from comfywatchman.readiness.status import ProviderPackage

START_HINT: Final = "Start ComfyUI and run the check again: the running server says which classes it has."
_MAX_NAMED_PACKS: Final = 3


def join_pack_names(packs: Iterable[NodePack]) -> str:
    """Return the names of packs for people; of many, the first few and a count."""
    names = list(dict.fromkeys(pack.display_name or pack.folder for pack in packs))
    return shorten_list(names, most=_MAX_NAMED_PACKS)


def build_provider_verdict(
    class_type: str,
    state: NodeState,
    owners: Sequence[NodePack],
    evidence: str,
    *,
    fix: str,
    remedy: NodeRemedy | None = None,
) -> NodeVerdict:
    """Build the verdict on a class of installed packs."""
    packages = tuple(
        ProviderPackage(pack.id, pack.url, f"installed in custom_nodes/{pack.folder}", pack.display_name)
        for pack in owners
    )
    # With several packs it is not known whose class the workflow means.
    return NodeVerdict(
        class_type, state, evidence, fix=fix, packages=packages, is_certain=len(owners) == 1, remedy=remedy
    )
