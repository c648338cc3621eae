"""A person's pins as uv's overrides: which package asks otherwise, with which extras, and for which node. Pure.

An override replaces what packages ask for, extras included, so those are named again. Where only packages between ask
otherwise, the override is scoped to them: it then says more truly what was overruled, and holds for nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.records import NodeRegistry, RequirementEdge
from comfywatchman.governance.store.truth import (
    Override,
    node_group,
    parse_overrides,
    remove_group,
    set_group,
    set_overrides,
)
from comfywatchman.governance.uv.error_parser import PIN, is_root

PIN_HINT: Final = "Give exact versions, such as numpy==1.26.4."
_MOST_PIN: Final = 200


def parse_pin(text: str) -> str:
    """Return a pin in normal form: `NumPy == 1.26.4` is `numpy==1.26.4`.

    Raises:
        Failure: `gov-bad-pin` for anything but a name, `==` and one PEP 440 version: no extras, markers or wildcards.
    """
    if len(text) > _MOST_PIN:
        reason = f"A pin of {len(text)} characters is no pin; {_MOST_PIN} are the most."
        raise Failure("gov-bad-pin", reason, hint=PIN_HINT)
    name, _, version = text.strip().partition("==")
    try:
        wanted = Requirement(f"{name.strip()}=={Version(version.strip())}")
    except (InvalidRequirement, InvalidVersion) as error:
        raise Failure("gov-bad-pin", f"{text!r} is no pin.", hint=PIN_HINT) from error
    if wanted.extras or wanted.url:
        raise Failure("gov-bad-pin", f"{text!r} is no pin: it says more than a name and a version.", hint=PIN_HINT)
    return f"{canonicalize_name(wanted.name)}{wanted.specifier}"


def merge_pins(earlier: Iterable[str], later: Iterable[str]) -> tuple[str, ...]:
    """Return checked pins, sorted; of two for one package the later one.

    Raises:
        Failure: `gov-bad-pin`.
    """
    pins = {pin.partition("==")[0]: pin for pin in map(parse_pin, [*earlier, *later])}
    return tuple(pins[name] for name in sorted(pins))


def drop_pins(pins: Iterable[str], packages: Iterable[str]) -> tuple[str, ...]:
    """Return pins without those of some packages.

    Raises:
        Failure: `gov-bad-pin` for a package that has none.
    """
    left = {pin.partition("==")[0]: pin for pin in pins}
    for package in packages:
        if left.pop(canonicalize_name(package.strip()), None) is None:
            held = ", ".join(left.values()) or "none"
            raise Failure("gov-bad-pin", f"No pin of {package[:_MOST_PIN]!r} is held.", hint=f"Pins: {held}.")
    return tuple(left.values())


def collect_extras(lines: Iterable[str]) -> dict[str, set[str]]:
    """Return the extras that requirement lines ask for, by normalised name; what is no requirement is passed over."""
    wanted: dict[str, set[str]] = {}
    for line in lines:
        requirement = _parse_requirement(line)
        if requirement is not None and requirement.extras:
            wanted.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return wanted


def build_global_overrides(pins: Iterable[str], extras: Mapping[str, Collection[str]]) -> tuple[Override, ...]:
    """Return entries that overrule whoever asks, with every extra that anybody asks for."""
    return tuple(_add_extras(pin, extras) for pin in pins)


def build_scoped_overrides(
    pins: Iterable[str], edges: Sequence[RequirementEdge], extras: Mapping[str, Collection[str]]
) -> tuple[Override, ...]:
    """Return entries that overrule only the packages of which uv said that they ask otherwise.

    A pin that a node or ComfyUI itself refuses, or that nobody is known to refuse, holds everywhere.

    Args:
        pins: Checked pins.
        edges: Who asks for what (`uv_trouble.parse`).
        extras: The extras that anybody asks for, by normalised name.
    """
    entries: list[Override] = []
    offended: dict[str, list[str]] = {}
    for pin in pins:
        names = _find_packages_to_override(pin, edges)
        if not names:
            entries.append(_add_extras(pin, extras))
        for name in names:
            offended.setdefault(name, []).append(_add_extras(pin, extras))
    return (*entries, *({"package": {"name": name}, "dependencies": offended[name]} for name in sorted(offended)))


def merge_node_overrides(
    current: Sequence[Override], before: Iterable[Sequence[Override]], after: Iterable[Sequence[Override]]
) -> tuple[Override, ...]:
    """Return what `override-dependencies` becomes when the entries that nodes brought change.

    Entries that no node brought are a person's own and stay. One that two nodes brought stays while one of them does;
    of two that overrule the same thing the later one holds.

    Args:
        current: The entries now.
        before: The entries of each registered node so far.
        after: The entries of each node from now on, the newest last.
    """
    ours = [entry for entries in before for entry in entries]
    own = [entry for entry in current if entry not in ours]
    found: dict[object, Override] = {}
    for entry in (entry for entries in after for entry in entries):
        found[_override_key(entry)] = entry
    return (*own, *(entry for entry in found.values() if entry not in own))


def set_node(
    text: str, plugins: NodeRegistry, node_id: str, *, lines: Sequence[str], entries: Sequence[Override]
) -> str:
    """Return pyproject.toml as it stands with a node in it: its group, and the overrides in step.

    Args:
        text: The text without the change.
        plugins: The registry without the change.
        node_id: The node.
        lines: The requirement lines of its group.
        entries: The overrides that it brings.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    others = [one.overrides for one in plugins.plugins.values() if one.id != node_id]
    return _apply_node_overrides(set_group(text, node_group(node_id), lines), plugins, [*others, entries])


def remove_node(text: str, plugins: NodeRegistry, node_id: str) -> str:
    """Return pyproject.toml as it stands without a node: its group and the overrides that only it brought are gone.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    others = [one.overrides for one in plugins.plugins.values() if one.id != node_id]
    return _apply_node_overrides(remove_group(text, node_group(node_id)), plugins, others)


def _apply_node_overrides(text: str, plugins: NodeRegistry, after: Iterable[Sequence[Override]]) -> str:
    current = parse_overrides(text)
    wanted = merge_node_overrides(current, [one.overrides for one in plugins.plugins.values()], after)
    return text if wanted == current else set_overrides(text, [_order_keys(entry) for entry in wanted])


def _order_keys(entry: Override) -> Override:
    # Records sort their keys; a person wants to read first whose wishes are overruled.
    return entry if isinstance(entry, str) else dict(sorted(entry.items(), key=lambda item: item[0] != "package"))


def split_violations(violations: Iterable[str], entries: Sequence[Override]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide what `uv pip check` says into what the overrides bring about on purpose, and the rest.

    Args:
        violations: Its lines: ``The package `a` requires `b>=2`, but `1.0` is installed``.
        entries: The overrides in force.
    """
    lines = tuple(violations)
    meant = tuple(line for line in lines if any(_is_cause_of(entry, line) for entry in entries))
    return meant, tuple(line for line in lines if line not in meant)


def is_violated_by(wanted: Requirement, pin: str) -> bool:
    """Say whether a requirement is for the package of a pin and not met by its version."""
    name, _, version = pin.partition("==")
    if canonicalize_name(wanted.name) != name:
        return False
    return wanted.url is not None or not wanted.specifier.contains(version, prereleases=True)


def to_record(entry: Override) -> str | dict[str, Any]:
    """Return an entry as records hold it."""
    return entry if isinstance(entry, str) else dict(entry)


def _find_packages_to_override(pin: str, edges: Sequence[RequirementEdge]) -> list[str]:
    against = [edge for edge in edges if edge.source != PIN and is_violated_by(Requirement(edge.requirement), pin)]
    if any(is_root(edge) for edge in against):
        return []
    return sorted({canonicalize_name(Requirement(edge.source).name) for edge in against})


def _add_extras(pin: str, extras: Mapping[str, Collection[str]]) -> str:
    name, _, version = pin.partition("==")
    wanted = ",".join(sorted(extras.get(name, ())))
    return f"{name}[{wanted}]=={version}" if wanted else pin


def _override_key(entry: Override) -> object:
    if isinstance(entry, str):
        requirement = _parse_requirement(entry)
        return entry if requirement is None else canonicalize_name(requirement.name)
    return str(entry.get("package")), tuple(_override_key(str(line)) for line in entry.get("dependencies", ()))


def _is_cause_of(entry: Override, violation: str) -> bool:
    if not isinstance(entry, str):
        asks = f"`{entry.get('package', {}).get('name')}`"
        return asks in violation and any(_is_cause_of(str(line), violation) for line in entry.get("dependencies", ()))
    requirement = _parse_requirement(entry)
    quoted = violation.split("`")[3::2]
    wanted = _parse_requirement(quoted[0]) if quoted else None
    if requirement is None or wanted is None:
        return False
    return canonicalize_name(requirement.name) == canonicalize_name(wanted.name)


def _parse_requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None
