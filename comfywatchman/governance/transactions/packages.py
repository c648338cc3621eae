"""Packages that the user wants beside those of ComfyUI and the nodes: edits of pyproject.toml. Pure.

Wanted packages are a dependency group; a pin is a constraint, which installs nothing by itself, or an override, which
also overrules what nodes and packages require.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import NodeRegistry
from comfywatchman.governance.transactions.shared_packages import DROP_MARKER
from comfywatchman.governance.uv.declared_requirements import parse_declared
from comfywatchman.governance.uv.overrides import parse_pin
from comfywatchman.governance.uv.requirement import parse_package_name, parse_requirement

_OWN_GROUPS = (truth.PACKAGES_GROUP, truth.ADOPTED_GROUP)


@dataclass(frozen=True, slots=True)
class WantedPackages:
    """What the user declared.

    Attributes:
        added: Requirement lines of wanted packages, also of adopted ones.
        pins: Pins that are constraints.
        overrides: Pins that overrule requirements.
    """

    added: tuple[str, ...]
    pins: tuple[str, ...]
    overrides: tuple[str, ...]


def read_wanted(text: str, registry: NodeRegistry) -> WantedPackages:
    """Return the packages and pins that the user declared in a pyproject.toml.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    groups = truth.parse_groups(text)
    added = [line for group in _OWN_GROUPS for line in groups.get(group, ())]
    of_nodes = _list_node_overrides(registry)
    overrides = [line for line in truth.parse_overrides(text) if isinstance(line, str) and line not in of_nodes]
    return WantedPackages(tuple(sorted(added)), truth.parse_constraints(text), tuple(overrides))


def add_packages(text: str, lines: Sequence[str]) -> str:
    """Return the text with wanted packages; a line replaces that of the same package.

    Raises:
        Failure: `gov-bad-requirement` for a line that is not a PEP 508 requirement, or `gov-truth-damaged`.
    """
    names = set()
    for line in lines:
        if parse_requirement(line) is None:
            raise Failure(
                "gov-bad-requirement",
                f"Not a requirement: {line[:200]!r}.",
                hint="Give a name with or without versions, such as requests or 'numpy>=1.26,<2'.",
            )
        names.add(parse_package_name(line))
    for group in _OWN_GROUPS:
        text = _drop_lines(text, group, names)
    wanted = truth.parse_groups(text).get(truth.PACKAGES_GROUP, ())
    return truth.set_group(text, truth.PACKAGES_GROUP, sorted({*wanted, *lines}))


def pin_packages(text: str, pins: Sequence[str], registry: NodeRegistry, *, overrules: bool = False) -> str:
    """Return the text with pins; a pin replaces the user's pin of the same package.

    Args:
        text: pyproject.toml.
        pins: The pins, `name==version`.
        registry: The registered nodes, whose overrides stay.
        overrules: Whether they apply against the requirements of nodes and packages.

    Raises:
        Failure: `gov-bad-pin` or `gov-truth-damaged`.
    """
    wanted = [parse_pin(pin) for pin in pins]
    text = _drop_pins(text, {parse_package_name(pin) for pin in wanted}, registry)
    if overrules:
        return truth.set_overrides(text, [*truth.parse_overrides(text), *wanted])
    return truth.set_constraints(text, [*truth.parse_constraints(text), *wanted])


def remove_packages(text: str, names: Sequence[str], registry: NodeRegistry) -> str:
    """Return the text without wanted packages and pins of these names; overrides of nodes stay.

    Raises:
        Failure: `gov-package-unknown` when the user declared neither, or `gov-truth-damaged`.
    """
    for name in names:
        key = canonicalize_name(name)
        changed = _drop_pins(text, {key}, registry)
        for group in _OWN_GROUPS:
            changed = _drop_lines(changed, group, {key})
        if changed == text:
            raise _unknown_failure(text, key, registry)
        text = changed
    return text


def _drop_lines(text: str, group: str, names: set[str]) -> str:
    lines = truth.parse_groups(text).get(group, ())
    kept = [line for line in lines if parse_package_name(line) not in names]
    if len(kept) == len(lines):
        return text
    return truth.set_group(text, group, kept) if kept else truth.remove_group(text, group)


def _drop_pins(text: str, names: set[str], registry: NodeRegistry) -> str:
    constraints, overrides = truth.parse_constraints(text), truth.parse_overrides(text)
    kept = [line for line in constraints if parse_package_name(line) not in names]
    if len(kept) != len(constraints):
        text = truth.set_constraints(text, kept)
    of_nodes = _list_node_overrides(registry)
    others = [line for line in overrides if line in of_nodes or not _is_pin_of(line, names)]
    return text if len(others) == len(overrides) else truth.set_overrides(text, others)


def _is_pin_of(override: truth.Override, names: set[str]) -> bool:
    """Return whether an override pins one of these packages; one that drops a package (`--keep`) is not a pin."""
    if not isinstance(override, str):
        return False
    requirement = parse_requirement(override)
    if requirement is None or str(requirement.marker) == str(Marker(DROP_MARKER)):
        return False
    return canonicalize_name(requirement.name) in names


def _list_node_overrides(registry: NodeRegistry) -> list[truth.Override]:
    return [override for node in registry.plugins.values() for override in node.overrides]


def _unknown_failure(text: str, name: str, registry: NodeRegistry) -> Failure:
    owners = sorted({requirement.owner for requirement in parse_declared(text) if requirement.name == name})
    pinning = [
        node.id for node in registry.plugins.values() if any(_is_pin_of(line, {name}) for line in node.overrides)
    ]
    if pinning:
        reason = f"{name} is pinned for {', '.join(sorted(pinning))}."
        hint = "The pin ends with the node, or with another pin of its transaction: gov resolve TXID."
    elif owners:
        reason = f"{name} is required by {', '.join(owners)}."
        hint = "To forbid or fix its version: gov package pin. To drop it, remove the node that requires it."
    else:
        reason = f"{name} was neither added nor pinned; it may come with another package."
        hint = "See: gov package list"
    return Failure("gov-package-unknown", f"{name[:200]!r} cannot be removed: {reason}", hint=hint)
