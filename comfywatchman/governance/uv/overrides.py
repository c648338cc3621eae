"""A user's pins as uv overrides: global, or scoped to the packages that contradict them. Pure.

An override replaces what packages require, extras included, so extras are repeated in it. Where only indirect
requirements contradict a pin, its override is scoped to those packages: it then names what it overrules, and affects no
other package.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.records import NodeRegistry
from comfywatchman.governance.store.truth import (
    Override,
    node_group,
    parse_overrides,
    remove_group,
    set_group,
    set_overrides,
)
from comfywatchman.governance.uv.requirement import PIN, is_root, parse_package_name, parse_requirement

PIN_HINT: Final = "Give exact versions, such as numpy==1.26.4."
_MAX_PIN_CHARACTERS: Final = 200


def parse_pin(text: str) -> str:
    """Return a pin in normal form: `NumPy == 1.26.4` becomes `numpy==1.26.4`.

    Raises:
        Failure: `gov-bad-pin` for anything but a name, `==` and one PEP 440 version: no extras, markers or wildcards.
    """
    if len(text) > _MAX_PIN_CHARACTERS:
        reason = f"The pin has {len(text)} characters; at most {_MAX_PIN_CHARACTERS} are allowed."
        raise Failure("gov-bad-pin", reason, hint=PIN_HINT)
    name, _, version = text.strip().partition("==")
    try:
        requirement = Requirement(f"{name.strip()}=={Version(version.strip())}")
    except (InvalidRequirement, InvalidVersion) as error:
        raise Failure("gov-bad-pin", f"Invalid pin: {text!r}.", hint=PIN_HINT) from error
    if requirement.extras or requirement.url:
        reason = f"Invalid pin: {text!r} has more than a name and a version."
        raise Failure("gov-bad-pin", reason, hint=PIN_HINT)
    return f"{canonicalize_name(requirement.name)}{requirement.specifier}"


def merge_pins(earlier: Iterable[str], later: Iterable[str]) -> tuple[str, ...]:
    """Return pins in normal form, sorted; of two for one package, the later one.

    Raises:
        Failure: `gov-bad-pin`.
    """
    pins_by_package: dict[str, str] = {}
    for text in (*earlier, *later):
        pin = parse_pin(text)
        pins_by_package[_pinned_package(pin)] = pin
    return tuple(pins_by_package[package] for package in sorted(pins_by_package))


def drop_pins(pins: Iterable[str], packages: Iterable[str]) -> tuple[str, ...]:
    """Return pins without those of some packages.

    Raises:
        Failure: `gov-bad-pin` for a package that is not pinned.
    """
    pins_by_package = {_pinned_package(pin): pin for pin in pins}
    for package in packages:
        if pins_by_package.pop(canonicalize_name(package.strip()), None) is None:
            existing = ", ".join(pins_by_package.values()) or "none"
            reason = f"The package {package[:_MAX_PIN_CHARACTERS]!r} is not pinned."
            raise Failure("gov-bad-pin", reason, hint=f"Pins: {existing}.")
    return tuple(pins_by_package.values())


def collect_extras(lines: Iterable[str]) -> dict[str, set[str]]:
    """Return the extras in requirement lines, by normalised package name; invalid lines are skipped."""
    extras: dict[str, set[str]] = {}
    for line in lines:
        requirement = parse_requirement(line)
        if requirement is not None and requirement.extras:
            extras.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return extras


def build_global_overrides(pins: Iterable[str], extras: Mapping[str, Collection[str]]) -> tuple[Override, ...]:
    """Return overrides that apply to every package, with every extra that is required somewhere."""
    return tuple(_add_extras(pin, extras) for pin in pins)


def build_scoped_overrides(
    pins: Iterable[str], edges: Sequence[RequirementEdge], extras: Mapping[str, Collection[str]]
) -> tuple[Override, ...]:
    """Return overrides that apply only to the packages that contradict a pin, as far as uv named them.

    A pin that a node or ComfyUI itself contradicts, or that no known package contradicts, applies to every package.

    Args:
        pins: Pins in normal form.
        edges: The requirements that uv named (`error_parser.parse_edges`).
        extras: The extras that are required somewhere, by normalised name.
    """
    overrides: list[Override] = []
    pins_by_package: dict[str, list[str]] = {}
    for pin in pins:
        packages = _find_packages_to_override(pin, edges)
        line = _add_extras(pin, extras)
        if not packages:
            overrides.append(line)
        for package in packages:
            pins_by_package.setdefault(package, []).append(line)
    overrides += [
        {"package": {"name": name}, "dependencies": pins_by_package[name]} for name in sorted(pins_by_package)
    ]
    return tuple(overrides)


def merge_node_overrides(
    current: Sequence[Override], before: Iterable[Sequence[Override]], after: Iterable[Sequence[Override]]
) -> tuple[Override, ...]:
    """Return the new `override-dependencies` when the overrides of nodes change.

    Overrides that belong to no node were written by the user and stay. An entry of two nodes stays while either node
    has it; of two entries for the same package the later one takes precedence.

    Args:
        current: The present overrides.
        before: The overrides of each registered node so far.
        after: The overrides of each node from now on, the newest node last.
    """
    of_nodes = [override for overrides in before for override in overrides]
    of_user = [override for override in current if override not in of_nodes]
    by_subject: dict[object, Override] = {}
    for overrides in after:
        for override in overrides:
            by_subject[_override_key(override)] = override
    added = [override for override in by_subject.values() if override not in of_user]
    return (*of_user, *added)


def set_node(
    text: str, registry: NodeRegistry, node_id: str, *, lines: Sequence[str], overrides: Sequence[Override]
) -> str:
    """Return pyproject.toml with a node's group and overrides in it.

    Args:
        text: The text before the change.
        registry: The registry before the change.
        node_id: The node.
        lines: The requirement lines of its group.
        overrides: Its overrides.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    after = [*_list_overrides(registry, but=node_id), overrides]
    return _apply_node_overrides(set_group(text, node_group(node_id), lines), registry, after)


def remove_node(text: str, registry: NodeRegistry, node_id: str) -> str:
    """Return pyproject.toml without a node's group, and without the overrides that only this node has.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    after = _list_overrides(registry, but=node_id)
    return _apply_node_overrides(remove_group(text, node_group(node_id)), registry, after)


def split_violations(
    violations: Iterable[str], overrides: Sequence[Override]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the output of `uv pip check` into the violations that overrides cause on purpose, and the others.

    Args:
        violations: Lines such as ``The package `a` requires `b>=2`, but `1.0` is installed``.
        overrides: The overrides in force.
    """
    intended, others = [], []
    for line in violations:
        if any(_is_cause_of(override, line) for override in overrides):
            intended.append(line)
        else:
            others.append(line)
    return tuple(intended), tuple(others)


def is_violated_by(requirement: Requirement, pin: str) -> bool:
    """Return whether a pin is for the package of a requirement and does not satisfy it."""
    name, _, version = pin.partition("==")
    if canonicalize_name(requirement.name) != name:
        return False
    # A pin is a version from the index, never the one at an address.
    return requirement.url is not None or not requirement.specifier.contains(version, prereleases=True)


def to_record(override: Override) -> str | dict[str, Any]:
    """Return an override as it is recorded, without types of tomlkit."""
    return override if isinstance(override, str) else dict(override)


def _list_overrides(registry: NodeRegistry, *, but: str) -> list[Sequence[Override]]:
    return [node.overrides for node in registry.plugins.values() if node.id != but]


def _apply_node_overrides(text: str, registry: NodeRegistry, after: Iterable[Sequence[Override]]) -> str:
    current = parse_overrides(text)
    before = [node.overrides for node in registry.plugins.values()]
    merged = merge_node_overrides(current, before, after)
    # Unchanged text stays byte for byte as the user wrote it.
    return text if merged == current else set_overrides(text, [_order_keys(override) for override in merged])


def _order_keys(override: Override) -> Override:
    # Records sort their keys; in pyproject.toml the overruled package comes first, for readers.
    if isinstance(override, str):
        return override
    return dict(sorted(override.items(), key=lambda item: item[0] != "package"))


def _pinned_package(pin: str) -> str:
    return pin.partition("==")[0]


def _find_packages_to_override(pin: str, edges: Sequence[RequirementEdge]) -> list[str]:
    """Return the packages that contradict a pin; none when ComfyUI, a node or a group does, too."""
    contradicting = [
        edge for edge in edges if edge.source != PIN and is_violated_by(Requirement(edge.requirement), pin)
    ]
    if any(is_root(edge) for edge in contradicting):
        return []
    return sorted({canonicalize_name(Requirement(edge.source).name) for edge in contradicting})


def _add_extras(pin: str, extras: Mapping[str, Collection[str]]) -> str:
    name, _, version = pin.partition("==")
    required = ",".join(sorted(extras.get(name, ())))
    return f"{name}[{required}]=={version}" if required else pin


def _override_key(override: Override) -> object:
    """Return what an override is about: two with the same key exclude each other."""
    if isinstance(override, str):
        return parse_package_name(override) or override
    dependencies = [_override_key(str(line)) for line in override.get("dependencies", ())]
    return str(override.get("package")), tuple(dependencies)


def _is_cause_of(override: Override, violation: str) -> bool:
    if not isinstance(override, str):
        package = f"`{override.get('package', {}).get('name')}`"
        dependencies = override.get("dependencies", ())
        return package in violation and any(_is_cause_of(str(line), violation) for line in dependencies)
    # The second quoted part of the line is the violated requirement.
    quoted = violation.split("`")[3::2]
    violated = parse_package_name(quoted[0]) if quoted else ""
    return bool(violated) and parse_package_name(override) == violated
