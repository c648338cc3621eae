"""What promoting a tried node would write: its own lines, and what it turned out to need beyond them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from comfywatchman.governance.nodes.identity import is_same_origin
from comfywatchman.governance.nodes.requirements import NodeRequirements
from comfywatchman.governance.store.records import PromotionPlan


@dataclass(frozen=True, slots=True)
class FrozenPackage:
    """One line of `uv pip freeze`.

    Attributes:
        name: The normalised name.
        version: The version; empty for one that came from an address.
        url: Where it came from; empty for one of an index.
        line: The line as it was; an editable installation begins with `-e`.
    """

    name: str
    version: str
    url: str
    line: str


def parse_freeze(lines: Iterable[str]) -> dict[str, FrozenPackage]:
    """Return the lines of `uv pip freeze` by normalised name; what is no requirement is left out."""
    found: dict[str, FrozenPackage] = {}
    for line in lines:
        if line.startswith("-e "):
            name = canonicalize_name(urlsplit(line[3:]).path.rstrip("/").rpartition("/")[2])
            found[name] = FrozenPackage(name, "", line[3:], line)
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        name = canonicalize_name(requirement.name)
        version = next((one.version for one in requirement.specifier), "")
        found[name] = FrozenPackage(name, version, requirement.url or "", line)
    return found


def find_closure(
    lines: Iterable[str], requires: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> frozenset[str]:
    """Return the names of all packages that requirement lines bring, themselves included.

    Args:
        lines: Requirement lines.
        requires: The requirement lines of each installed package, by normalised name.
        environment: The values of the markers, as `packaging.markers` names them.
    """
    reached: set[tuple[str, str]] = set()
    waiting = list(_parse_applicable(lines, "", environment))
    while waiting:
        one = waiting.pop()
        if one in reached:
            continue
        reached.add(one)
        name, extra = one
        waiting.extend(_parse_applicable(requires.get(name, ()), extra, environment))
    return frozenset(name for name, _extra in reached)


def build_plan(
    wanted: NodeRequirements,
    *,
    pre: Sequence[str],
    post: Sequence[str],
    known: Collection[str],
    earlier: Sequence[str] = (),
    overrides: Sequence[str | dict[str, Any]] = (),
) -> PromotionPlan:
    """Say what promotion writes.

    Args:
        wanted: What the node declares.
        pre: The freeze before the node was installed.
        post: The freeze after its run.
        known: The names in the closure of what is declared: they come by themselves.
        earlier: Lines of what the node installed by itself before it was promoted last; production has it now, so that
            an installer that only looks leaves no trace of it.
        overrides: The overrides that the node brought when it was promoted before; they stay until it goes.
    """
    before, after = parse_freeze(pre), parse_freeze(post)
    declared = [_pin_to_tried_commit(line, after) for line in wanted.lines]
    named = [_resolve_unnamed(url, after) for url in wanted.unnamed]
    direct = [*declared, *(line for line in named if line is not None)]
    covered = {*known, *(canonicalize_name(Requirement(line).name) for line in direct)}
    hints: dict[str, str] = {canonicalize_name(Requirement(line).name): line for line in reversed(wanted.hints)}
    grown = [one for name, one in after.items() if name not in covered and before.get(name) != one]
    runtime = [hints.get(one.name, one.line) for one in grown if not _is_local(one)]
    settled = {*covered, *(one.name for one in grown)}
    runtime += [
        line for line in earlier if (name := canonicalize_name(Requirement(line).name)) in after and name not in settled
    ]
    return PromotionPlan(
        direct_additions=tuple(sorted({*direct, *runtime})),
        override_additions=tuple(overrides),
        runtime_additions=tuple(sorted(runtime)),
        unparseable=(*wanted.unparseable, *_describe_unlockable(wanted.unnamed, named, grown, before, after)),
    )


def pin_tried_versions(post: Sequence[str], *, but: Collection[str] = ()) -> tuple[str, ...]:
    """Return `name==version` of what a candidate held, for the first pass of a lock: what was tried is promoted.

    Args:
        post: The freeze after the run.
        but: Normalised names that a person pinned otherwise.
    """
    found = parse_freeze(post).values()
    return tuple(sorted(f"{one.name}=={one.version}" for one in found if one.version and one.name not in but))


def find_version_differences(post: Sequence[str], packages: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a lock holds in another version than was tried, each as `name tried -> locked`.

    Args:
        post: The freeze after the run.
        packages: The locked versions by normalised name.
    """
    tried = {one.name: one.version for one in parse_freeze(post).values() if one.version}
    changed = (
        (name, tried[name], version) for name, version in packages.items() if tried.get(name, version) != version
    )
    return tuple(sorted(f"{name} {old} -> {new}" for name, old, new in changed))


def _describe_unlockable(
    unnamed: Sequence[str],
    named: Sequence[str | None],
    grown: Iterable[FrozenPackage],
    before: Mapping[str, FrozenPackage],
    after: Mapping[str, FrozenPackage],
) -> Iterator[str]:
    for url, line in zip(unnamed, named, strict=True):
        if line is None:
            yield f"{url} (it was not found among what was installed)"
    for one in grown:
        if _is_local(one):
            yield f"{one.line} (it was installed from a folder of this machine, which cannot be locked)"
    for name, one in before.items():
        if name not in after:
            yield f"{one.line} (the node removed it; it stays, because others declared it)"


def _parse_applicable(lines: Iterable[str], extra: str, environment: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        try:
            requirement = Requirement(line)
            applies = requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue
        if applies:
            name = canonicalize_name(requirement.name)
            yield name, ""
            yield from ((name, canonicalize_name(one)) for one in requirement.extras)


def _pin_to_tried_commit(line: str, after: Mapping[str, FrozenPackage]) -> str:
    """Return a declared line; one that follows a branch gets the commit that was tried."""
    requirement = Requirement(line)
    found = after.get(canonicalize_name(requirement.name))
    if found is None or not requirement.url or not _is_same_code(requirement.url, found.url):
        return line
    requirement.url = _set_commit(requirement.url, found.url)
    return str(requirement)


def _resolve_unnamed(url: str, after: Mapping[str, FrozenPackage]) -> str | None:
    found = next((one for one in after.values() if _is_same_code(url, one.url)), None)
    return None if found is None else f"{found.name} @ {_set_commit(url, found.url)}"


def _is_same_code(declared: str, installed: str) -> bool:
    if not installed.startswith("git+") or not declared.startswith("git+"):
        return False
    return is_same_origin(*(_strip_ref(url).removeprefix("git+") for url in (declared, installed)))


def _strip_ref(url: str) -> str:
    parts = urlsplit(url)
    before, at, _ref = parts.path.rpartition("@")
    return parts._replace(path=before if at else parts.path, fragment="").geturl()


def _set_commit(declared: str, installed: str) -> str:
    """Return a declared address at the commit that was installed; the freeze has lost the user name that ssh needs."""
    parts = urlsplit(installed)
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{_strip_ref(declared)}@{parts.path.rpartition('@')[2]}{fragment}"


def _is_local(one: FrozenPackage) -> bool:
    return one.line.startswith("-e ") or one.url.startswith("file:")
