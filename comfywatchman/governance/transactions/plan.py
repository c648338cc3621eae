"""Plan a promotion: the requirement lines and package versions of the tried node that production gets. Pure.

The requirement lines of a tried node, with git requirements pinned to the commit that was tried; the packages that it
installed by itself; and the version differences between two environments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from comfywatchman.governance.nodes.identity import is_same_origin
from comfywatchman.governance.store.records import PromotionPlan
from comfywatchman.governance.transactions.freeze import FrozenPackage, parse_freeze
from comfywatchman.governance.uv.requirement import parse_requirement
from comfywatchman.governance.uv.requirement_files import NodeRequirements, parse_name


def find_closure(
    lines: Iterable[str], requires: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> frozenset[str]:
    """Return the names of all packages that requirement lines install, their own and those of their dependencies.

    Args:
        lines: Requirement lines.
        requires: The requirement lines of each installed package, by normalised name.
        environment: The values of environment markers, by the names of `packaging.markers`.
    """
    # An extra of a package is visited as a package of its own: it has its own dependencies.
    visited: set[tuple[str, str]] = set()
    pending = list(_iter_applicable(lines, "", environment))
    while pending:
        name, extra = pending.pop()
        if (name, extra) not in visited:
            visited.add((name, extra))
            pending.extend(_iter_applicable(requires.get(name, ()), extra, environment))
    return frozenset(name for name, _extra in visited)


def build_plan(
    requirements: NodeRequirements,
    *,
    pre: Sequence[str],
    post: Sequence[str],
    known: Collection[str],
    earlier: Sequence[str] = (),
    overrides: Sequence[str | dict[str, Any]] = (),
) -> PromotionPlan:
    """Return the lines that a promotion writes.

    Args:
        requirements: The declared requirements of the node.
        pre: The freeze before the node was installed.
        post: The freeze after its trial.
        known: The closure of all declared requirements: these packages are installed anyway.
        earlier: The runtime additions of the last promotion. Production has them now, so that an installer that only
            installs what is missing leaves no trace of them.
        overrides: The overrides of the last promotion; they are kept until the node is removed.
    """
    before, after = parse_freeze(pre), parse_freeze(post)
    direct, missing = _plan_declared(requirements, after)
    # Covered packages are installed through some declared requirement, and need no line of their own.
    covered = {*known, *(parse_name(line) for line in direct)}
    additions = []
    for name, package in after.items():
        if name not in covered and package != before.get(name):
            additions.append(package)
    covered |= {package.name for package in additions}
    runtime = _list_runtime_lines(requirements.hints, additions)
    for line in earlier:
        name = parse_name(line)
        if name in after and name not in covered:
            runtime.append(line)
    return PromotionPlan(
        direct_additions=tuple(sorted({*direct, *runtime})),
        override_additions=tuple(overrides),
        runtime_additions=tuple(sorted(runtime)),
        unparseable=(*requirements.unparseable, *missing, *_describe_unlockable(additions, before, after)),
    )


def pin_tried_versions(post: Sequence[str], *, but: Collection[str] = ()) -> tuple[str, ...]:
    """Return `name==version` for each package of a candidate: a lock is first resolved to the tried versions.

    Args:
        post: The freeze after the trial.
        but: Normalised names that the user pinned to other versions.
    """
    packages = parse_freeze(post).values()
    pins = (f"{package.name}=={package.version}" for package in packages if package.version and package.name not in but)
    return tuple(sorted(pins))


def find_version_differences(post: Sequence[str], locked: Mapping[str, str]) -> tuple[str, ...]:
    """Return the packages that are locked in another version than the tried one, each as `name tried -> locked`.

    Args:
        post: The freeze after the trial.
        locked: The locked versions by normalised name.
    """
    differences = []
    for name, package in parse_freeze(post).items():
        version = locked.get(name)
        if package.version and version is not None and version != package.version:
            differences.append(f"{name} {package.version} -> {version}")
    return tuple(sorted(differences))


def are_unnamed_declared(requirements: NodeRequirements, declared: Iterable[str]) -> bool:
    """Return whether each URL without a package name is declared as `name @ URL`, at whatever commit."""
    urls = [requirement.url for line in declared if (requirement := parse_requirement(line)) and requirement.url]
    return all(any(_is_same_repository(url, known) for known in urls) for url in requirements.unnamed)


def _plan_declared(requirements: NodeRequirements, after: Mapping[str, FrozenPackage]) -> tuple[list[str], list[str]]:
    """Return the declared requirement lines, and descriptions of the URLs whose package was not found."""
    direct = [_pin_to_tried_commit(line, after) for line in requirements.lines]
    missing = []
    for url in requirements.unnamed:
        line = _resolve_unnamed(url, after)
        if line is None:
            missing.append(f"{url} (not found among the installed packages)")
        else:
            direct.append(line)
    return direct, missing


def _list_runtime_lines(hints: Iterable[str], additions: Iterable[FrozenPackage]) -> list[str]:
    """Return a line for each package that the node installed by itself, with its hinted bounds or its tried version."""
    hint_by_name: dict[str, str] = {}
    for line in hints:
        # The first of several hints for a package counts.
        hint_by_name.setdefault(parse_name(line), line)
    return [hint_by_name.get(package.name, package.line) for package in additions if not package.is_local]


def _describe_unlockable(
    additions: Iterable[FrozenPackage], before: Mapping[str, FrozenPackage], after: Mapping[str, FrozenPackage]
) -> list[str]:
    descriptions = [
        f"{package.line} (installed from a folder of this machine, which cannot be locked)"
        for package in additions
        if package.is_local
    ]
    for name, package in before.items():
        if name not in after:
            descriptions.append(f"{package.line} (removed by the node; it is kept, because others declare it)")
    return descriptions


def _iter_applicable(lines: Iterable[str], extra: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and extra of each requirement whose marker applies; the name with an empty extra comes first."""
    for line in lines:
        try:
            requirement = Requirement(line)
            marker = requirement.marker
            applies = marker is None or marker.evaluate({**environment, "extra": extra})
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue
        if applies:
            name = canonicalize_name(requirement.name)
            yield name, ""
            for required_extra in requirement.extras:
                yield name, canonicalize_name(required_extra)


def _pin_to_tried_commit(line: str, after: Mapping[str, FrozenPackage]) -> str:
    """Return a declared line; one that follows a branch gets the commit that was tried."""
    requirement = Requirement(line)
    package = after.get(canonicalize_name(requirement.name))
    if package is None or not requirement.url or not _is_same_repository(requirement.url, package.url):
        return line
    requirement.url = _set_commit(requirement.url, package.url)
    return str(requirement)


def _resolve_unnamed(url: str, after: Mapping[str, FrozenPackage]) -> str | None:
    """Return the requirement line of a URL without a package name, once its installation has shown the name."""
    for package in after.values():
        if _is_same_repository(url, package.url):
            return f"{package.name} @ {_set_commit(url, package.url)}"
    return None


def _is_same_repository(declared: str, installed: str) -> bool:
    if not installed.startswith("git+") or not declared.startswith("git+"):
        return False
    return is_same_origin(_strip_ref(declared).removeprefix("git+"), _strip_ref(installed).removeprefix("git+"))


def _strip_ref(url: str) -> str:
    parts = urlsplit(url)
    path, separator, _ref = parts.path.rpartition("@")
    return parts._replace(path=path if separator else parts.path, fragment="").geturl()


def _set_commit(declared: str, installed: str) -> str:
    """Return a declared URL at the commit that was installed; the freeze leaves out the user name that ssh needs."""
    parts = urlsplit(installed)
    commit = parts.path.rpartition("@")[2]
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{_strip_ref(declared)}@{commit}{fragment}"
