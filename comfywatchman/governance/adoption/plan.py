"""Plan an adoption: how each package of the old environment is kept, and what the governed root declares. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from comfywatchman.governance.adoption.old_environment import OldEnvironment, OldPackage
from comfywatchman.governance.checks.unmet_requirements import find_unmet_requirements
from comfywatchman.governance.transactions.plan import find_closure
from comfywatchman.governance.uv.requirement import build_marker_environment, parse_requirement

Source = Literal["index", "url", "editable", "wheel"]


@dataclass(frozen=True, slots=True)
class KeptPackage:
    """How a package of the old environment is kept.

    Attributes:
        name: Its name.
        version: Its version.
        source: `index`; `url` for a file or repository; `editable` for a folder of this machine; `wheel` for a wheel
            built from its installed files.
        line: The requirement line that installs it.
        folder: The folder of an editable package; empty for others.
    """

    name: str
    version: str
    source: Source
    line: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class PackageMetadata:
    """The requirements of a package that count, in place of those that it declares (`dependency-metadata` of uv).

    ComfyUI ran although the others were not satisfied: the package was installed without them, or with other versions.

    Attributes:
        name: The package.
        version: The version that they are for; another version declares its own.
        requires: Its requirement lines that the old environment satisfied.
        extras: The names of its extras.
        dropped: Its other requirement lines.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    extras: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """What the governed root declares after the adoption.

    Attributes:
        adopted: The lines of the group `adopted`, sorted.
        pins: Versions that the lock prefers: `name==version`.
        metadata: Packages with requirements that the old environment did not satisfy; the others are listed.
        editables: The folders of editable packages, by name.
        node_lines: The requirement lines of each node pack, by id, as far as the old environment satisfies them.
        unmet_lines: The other requirement lines of each node pack, by id.
        moved: Packages whose version contradicts ComfyUI's own requirements: they get another version.
    """

    adopted: tuple[str, ...]
    pins: tuple[str, ...]
    metadata: tuple[PackageMetadata, ...] = ()
    editables: Mapping[str, str] = field(default_factory=dict)
    node_lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unmet_lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    moved: tuple[str, ...] = ()


def classify_package(package: OldPackage) -> KeptPackage:
    """Return how a package would be kept if everything that its metadata names is still available."""
    origin = package.origin
    pin = KeptPackage(package.name, package.version, "index", f"{package.name}=={package.version}")
    if origin is None:
        return pin
    if origin.vcs_info is not None and origin.vcs_info.get("commit_id"):
        fragment = f"#subdirectory={origin.subdirectory}" if origin.subdirectory else ""
        repository = f"{origin.vcs_info.get('vcs', 'git')}+{origin.url}"
        line = f"{package.name} @ {repository}@{origin.vcs_info['commit_id']}{fragment}"
        return replace(pin, source="url", line=line)
    if origin.dir_info is not None:
        if origin.dir_info.get("editable"):
            return replace(pin, source="editable", line=package.name, folder=unquote(urlsplit(origin.url).path))
        return replace(pin, source="wheel", line="")
    if urlsplit(origin.url).scheme == "file":
        # The file may be gone, or another one by now; the installed files are what ComfyUI ran with.
        return replace(pin, source="wheel", line="")
    return replace(pin, source="url", line=f"{package.name} @ {origin.url}")


def build_plan(
    old: OldEnvironment, kept: Iterable[KeptPackage], base: Sequence[str], node_lines: Mapping[str, Sequence[str]]
) -> AdoptionPlan:
    """Return what the governed root declares.

    Args:
        old: The environment that ComfyUI uses today.
        kept: The packages that can be kept.
        base: ComfyUI's requirement lines.
        node_lines: The requirement lines of each node pack, by id.
    """
    packages = {package.name: package for package in kept}
    installed = {name: old.packages[name].version for name in packages}
    markers = build_marker_environment(old.version)
    moved = {_name(unmet.line) for unmet in find_unmet_requirements(base, installed, markers) if unmet.installed}
    met, unmet_lines = _split_node_lines(node_lines, installed, markers, packages)
    direct = [package.line for package in packages.values() if package.source != "index" and package.name not in moved]
    metadata = _find_unsatisfied([old.packages[name] for name in packages], installed, markers, moved)
    requires = {name: old.packages[name].requires for name in packages}
    requires |= {entry.name: entry.requires for entry in metadata}
    declared = [*base, *direct, *(line for lines in met.values() for line in lines)]
    closure = find_closure(declared, requires, markers)
    own = _drop_dependencies([name for name in packages if name not in closure], requires, markers)
    return AdoptionPlan(
        adopted=tuple(sorted({*direct, *own})),
        pins=tuple(
            sorted(
                package.line for package in packages.values() if package.source == "index" and package.name not in moved
            )
        ),
        metadata=tuple(metadata),
        editables={package.name: package.folder for package in packages.values() if package.source == "editable"},
        node_lines=met,
        unmet_lines=unmet_lines,
        moved=tuple(sorted(moved)),
    )


def compare_packages(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the packages by what became of them: `same`, `moved` (`name old -> new`), `missing` and `added`.

    Args:
        old: The versions in the old environment by name.
        new: The versions in production by name.
    """
    same = [name for name, version in old.items() if new.get(name) == version]
    moved = [f"{name} {old[name]} -> {new[name]}" for name in old if name in new and new[name] != old[name]]
    missing = [f"{name} {version}" for name, version in old.items() if name not in new]
    added = [f"{name} {version}" for name, version in new.items() if name not in old]
    return {
        "same": tuple(sorted(same)),
        "moved": tuple(sorted(moved)),
        "missing": tuple(sorted(missing)),
        "added": tuple(sorted(added)),
    }


def _split_node_lines(
    node_lines: Mapping[str, Sequence[str]],
    installed: Mapping[str, str],
    markers: Mapping[str, str],
    packages: Mapping[str, KeptPackage],
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return the requirement lines that the old environment satisfies, and the others, by node."""
    met: dict[str, tuple[str, ...]] = {}
    unmet_lines: dict[str, tuple[str, ...]] = {}
    for node_id, lines in node_lines.items():
        unmet = {requirement.line for requirement in find_unmet_requirements(lines, installed, markers)}
        kept = set()
        for line in lines:
            requirement = parse_requirement(line)
            if line in unmet or requirement is None:
                continue
            package = packages.get(canonicalize_name(requirement.name))
            if package is None:
                # A line for another platform, or one that a package with the same modules satisfies.
                continue
            # A branch of a repository would be locked at its newest commit: the installed one counts.
            kept.add(package.line if requirement.url else line)
        met[node_id] = tuple(sorted(kept))
        if unmet:
            unmet_lines[node_id] = tuple(sorted(unmet))
    return met, unmet_lines


def _find_unsatisfied(
    packages: Iterable[OldPackage], installed: Mapping[str, str], markers: Mapping[str, str], moved: set[str]
) -> list[PackageMetadata]:
    """Return the packages with requirements that are not satisfied; those on packages that move are left alone."""
    unsatisfied = []
    for package in packages:
        unmet = find_unmet_requirements(package.requires, installed, markers, accept_replacements=False)
        dropped = [requirement.line for requirement in unmet if _name(requirement.line) not in moved]
        if dropped:
            requires = tuple(line for line in package.requires if line not in dropped)
            unsatisfied.append(PackageMetadata(package.name, package.version, requires, package.extras, tuple(dropped)))
    return unsatisfied


def _drop_dependencies(
    names: Sequence[str], requires: Mapping[str, Sequence[str]], markers: Mapping[str, str]
) -> list[str]:
    """Return the packages that no other one of them requires; of a circle the first in the alphabet."""
    needs = {name: find_closure([name], requires, markers) for name in names}
    top = []
    for name in names:
        parents = [other for other in names if other != name and name in needs[other]]
        if all(parent in needs[name] and name < parent for parent in parents):
            top.append(name)
    return top


def _name(line: str) -> str:
    requirement = parse_requirement(line)
    return "" if requirement is None else canonicalize_name(requirement.name)
