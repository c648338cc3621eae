"""The rules by which the ComfyUI of this host validates a prompt, from its running server or from its source."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.validation.rules import UNKNOWN_CHECKS, ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.readiness.nodes.running_server import ServerSnapshot
from comfywatchman.readiness.nodes.static_analysis import SourceNodes


def build_validation_rules(server: ServerSnapshot, sources: SourceNodes) -> ValidationRules:
    """Return the rules of the running server; without one, those that the source of ComfyUI and its packs shows.

    Args:
        server: The running server.
        sources: ComfyUI and its packs as static analysis finds them. Only the source shows which inputs a class checks
            itself, and which checks a version makes.
    """
    analysed = _merge_signatures(sources)
    if server.nodes is None:
        checks = UNKNOWN_CHECKS if sources.core is None else sources.core.server_checks
        return ValidationRules(analysed, checks)
    classes: dict[str, NodeSignature] = {}
    for class_type, signature in server.nodes.signatures.items():
        source = analysed.get(class_type)
        own_checks = None if source is None else source.own_checks
        refusable = () if source is None else source.refusable
        classes[class_type] = msgspec.structs.replace(signature, own_checks=own_checks, refusable=refusable)
    return ValidationRules(classes, _find_server_checks(server, sources), is_live=True)


def _merge_signatures(sources: SourceNodes) -> dict[str, NodeSignature]:
    """Return the signatures of ComfyUI and of its enabled packs; of a class with several, it is not known which counts.

    No pack replaces a class of ComfyUI itself.
    """
    core = {} if sources.core is None else sources.core.read_signatures()
    if any(pack.enabled and pack.extends_samplers for pack in sources.packs):
        core = _doubt_sampler_lists(core)
    merged: dict[str, NodeSignature] = {}
    disputed: set[str] = set()
    for class_type, signature in _list_signatures(pack for pack in sources.packs if pack.enabled):
        if merged.setdefault(class_type, signature) != signature:
            disputed.add(class_type)
    for class_type in disputed:
        del merged[class_type]
    return merged | core


def _doubt_sampler_lists(core: dict[str, NodeSignature]) -> dict[str, NodeSignature]:
    """Mark the classes that offer ComfyUI's samplers or schedulers: a pack may add to these lists when it starts."""
    sampler = core.get("KSampler", NodeSignature())
    offering = [given for given in sampler.inputs if given.name in {"sampler_name", "scheduler"}]
    lists = [given.choices for given in offering if given.choices]
    doubted: dict[str, NodeSignature] = {}
    for class_type, signature in core.items():
        may_offer_more = any(given.choices in lists for given in signature.inputs)
        doubted[class_type] = msgspec.structs.replace(signature, may_offer_more=may_offer_more)
    return doubted


def _list_signatures(packs: Iterable[NodePack]) -> Iterable[tuple[str, NodeSignature]]:
    for pack in packs:
        yield from pack.read_signatures().items()


def _find_server_checks(server: ServerSnapshot, sources: SourceNodes) -> ServerChecks:
    """Return the checks of the server's version; unknown when its source has been updated since it started."""
    core = sources.core
    if core is None or core.version is None or core.version != server.version:
        return UNKNOWN_CHECKS
    return core.server_checks
