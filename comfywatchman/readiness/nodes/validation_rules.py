"""The rules by which the ComfyUI of this host validates a prompt, from its running server and from its source."""

from __future__ import annotations

import msgspec

from comfywatchman.comfyui.validation.rules import NO_RULES, UNKNOWN_CHECKS, ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.readiness.nodes.running_server import ServerSnapshot
from comfywatchman.readiness.nodes.static_analysis import SourceNodes


def build_validation_rules(server: ServerSnapshot, sources: SourceNodes) -> ValidationRules:
    """Return the rules of the running server; empty without a server.

    Args:
        server: The running server.
        sources: ComfyUI and its packs as static analysis finds them. Only the source shows which classes check their
            inputs themselves, and which checks a version makes.
    """
    if server.nodes is None:
        return NO_RULES
    analysed: set[str] = set()
    self_checking: set[str] = set()
    for pack in sources.enabled():
        analysed |= pack.classes | pack.possible_classes
        self_checking |= pack.own_checks
    classes: dict[str, NodeSignature] = {}
    for class_type, signature in server.nodes.signatures.items():
        own_checks = () if class_type in analysed - self_checking else None
        classes[class_type] = msgspec.structs.replace(signature, own_checks=own_checks)
    return ValidationRules(classes, _find_server_checks(server, sources), is_live=True)


def _find_server_checks(server: ServerSnapshot, sources: SourceNodes) -> ServerChecks:
    """Return the checks of the server's version; unknown when its source has been updated since it started."""
    core = sources.core
    if core is None or core.version is None or core.version != server.version:
        return UNKNOWN_CHECKS
    return core.server_checks
