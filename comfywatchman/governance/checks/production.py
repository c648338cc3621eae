"""Check `production`: does the environment in production match the lock, with every file as it was installed?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc, parse_utc
from comfywatchman.base.text import pluralize
from comfywatchman.governance.checks.check_cache import CheckCache, StartupFiles, VerifiedPackage, stamp_files
from comfywatchman.governance.checks.context import Check, CheckContext, ProductionEnvironment
from comfywatchman.governance.checks.lock import hash_file
from comfywatchman.governance.checks.result import CheckResult, CheckStatus, shorten_names
from comfywatchman.governance.environments import integrity
from comfywatchman.governance.store.records import GenerationMark, InstalledPackage
from comfywatchman.governance.uv.shared_modules import describe_packages, find_shared_modules

VERIFY_AFTER: Final = timedelta(days=7)
"""Age at which the files of a package are verified again, as time allows."""

VERIFIED_LATELY: Final = timedelta(days=14)
"""Age up to which a verification counts; the days between are for cycles that have little time."""

_REBUILD: Final = "gov init"
"""Builds production again from the lock; nothing else changes."""


@dataclass(frozen=True, slots=True)
class ProductionFacts:
    """The state of the environment in production.

    Attributes:
        generation: The environment that the link leads to; None when it points to a missing folder.
        is_complete: Whether its build was completed and verified.
        matches_lock: Whether it was built from the present lock.
        missing: Packages that it was built with and has no longer, as `name version`.
        unexpected: Packages that were installed into it since, as `name version`.
        incomplete: Packages without a RECORD: an interrupted installation.
        modified_files: Files of packages that differ from their RECORD, relative to the environment.
        unverifiable: Files that never matched their RECORD, and cannot be verified.
        shared: Packages that own the same files, as `a and b (module m)`.
        keep: A package that has everything that such others have; empty when none is known.
        verified_count: Packages whose files were verified lately.
        package_count: Packages that it was built with.
    """

    generation: str | None
    is_complete: bool = False
    matches_lock: bool = False
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    modified_files: tuple[str, ...] = ()
    unverifiable: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    keep: str = ""
    verified_count: int = 0
    package_count: int = 0


def collect(context: CheckContext) -> ProductionFacts:
    """Read the state of production; its files as the budget allows, the oldest verification first."""
    production = context.production
    if production is None:
        return ProductionFacts(generation=None)
    mark = production.mark
    if mark is None:
        return ProductionFacts(production.key)
    expected = set(mark.packages)
    verified = _verify_packages(context, production, mark)
    modified_files = {
        *_find_modifications(verified.values(), mark),
        *_scan_site_packages(context, production, mark),
        *integrity.find_missing_base_files(production.folder),
    }
    return ProductionFacts(
        generation=production.key,
        is_complete=True,
        matches_lock=mark.lock_sha256 == hash_file(context.layout.uv_lock),
        missing=_format_packages(expected - production.installed.keys()),
        unexpected=_format_packages(production.installed.keys() - expected),
        incomplete=_find_incomplete(production),
        modified_files=tuple(sorted(modified_files)),
        unverifiable=mark.unverifiable,
        shared=tuple(describe_packages(files.module, files.packages) for files in mark.shared),
        keep=next((module.keep for module in find_shared_modules({package.name for package in mark.packages})), ""),
        verified_count=_count_recent_verifications(verified, mark, context.gov.clock.now()),
        package_count=len(expected),
    )


def judge(facts: ProductionFacts) -> CheckResult:
    """Judge whether production matches the lock: packages, versions and the content of their files."""
    if facts.generation is None:
        evidence = "There is no environment in production: .venv-prod points to a missing folder."
        return _build_result("fail", evidence, _REBUILD)
    if not facts.is_complete:
        evidence = f"The environment in production ({facts.generation}) was never completed."
        return _build_result("fail", evidence, _REBUILD)
    if not facts.matches_lock:
        evidence = f"The environment in production ({facts.generation}) was built from another lock than uv.lock."
        # It still runs, so that ComfyUI can start: not vital.
        return msgspec.structs.replace(_build_result("fail", evidence, _REBUILD), vital=False)
    faults = _describe_faults(facts)
    if faults:
        items = (*facts.missing, *facts.incomplete, *facts.modified_files, *facts.unexpected)
        is_broken = bool(facts.missing or facts.incomplete or facts.modified_files)
        evidence = f"Production differs from uv.lock: {'; '.join(faults)}."
        return _build_result("fail" if is_broken else "warn", evidence, _REBUILD, items)
    if facts.verified_count < facts.package_count:
        overdue = pluralize(facts.package_count - facts.verified_count, "package")
        evidence = (
            f"Packages and versions match uv.lock; the files of {overdue} were not verified lately (time ran out)."
        )
        return _build_result("unknown", evidence, "gov check")
    return _judge_unchanged(facts)


def _judge_unchanged(facts: ProductionFacts) -> CheckResult:
    """Judge an environment in which nothing changed; files that could not be verified are named."""
    packages = f"{pluralize(facts.package_count, 'package')} match uv.lock"
    if not facts.unverifiable and not facts.shared:
        return _build_result("ok", f"{packages}; no installed file was changed.")
    parts = []
    if facts.shared:
        parts.append(f"{shorten_names(facts.shared)} own the same files, so that those of only one are as installed")
    if facts.unverifiable:
        files = pluralize(len(facts.unverifiable), "file")
        parts.append(f"{files} cannot be verified, as the package was published with another hash: ")
        parts[-1] += shorten_names(facts.unverifiable)
    evidence = f"{packages}; no other file was changed. {'; '.join(parts)}."
    items = (*facts.shared, *facts.unverifiable)
    if facts.keep:
        return _build_result("warn", evidence, f"gov init --keep {facts.keep}", items)
    return _build_result("ok", evidence, items=items)


def _verify_packages(
    context: CheckContext, production: ProductionEnvironment, mark: GenerationMark
) -> dict[str, VerifiedPackage]:
    """Verify the files of packages while there is time; return the last verification of each package by name."""
    now = context.gov.clock.now()
    verified = _read_verifications(context.cache, production, mark)
    oldest_first = sorted(production.installed, key=lambda package: (verified[package.name].at, package.name))
    for package in oldest_first:
        age = now - parse_utc(verified[package.name].at)
        # A time to come, after a jump of the clock, proves nothing.
        last = verified[package.name]
        is_due = context.budget.is_full or not timedelta(0) <= age <= VERIFY_AFTER
        # What was modified may have been restored.
        if (is_due or (context.budget.is_unlimited and last.modified)) and context.budget.has_time:
            modified = integrity.find_changed_files(production.folder, package, production.installed[package])
            verified[package.name] = VerifiedPackage(format_utc(now), modified)
        elif context.budget.is_unlimited:
            modified = integrity.find_changed_files(
                production.folder, package, production.installed[package], since=parse_utc(last.at)
            )
            verified[package.name] = VerifiedPackage(last.at, modified)
    context.cache.updates["generation"] = mark.key
    context.cache.updates["packages"] = verified
    return verified


def _read_verifications(
    cache: CheckCache, production: ProductionEnvironment, mark: GenerationMark
) -> dict[str, VerifiedPackage]:
    cached = cache.stored.packages if cache.stored.generation == mark.key else {}
    # The build verified every file before it was marked complete.
    at_build = VerifiedPackage(mark.created_at)
    return {package.name: cached.get(package.name, at_build) for package in production.installed}


def _find_modifications(verified: Iterable[VerifiedPackage], mark: GenerationMark) -> set[str]:
    modified: set[str] = set()
    for package in verified:
        modified.update(package.modified)
    # Some published wheels carry a wrong hash in their own RECORD.
    return modified - set(mark.unverifiable)


def _count_recent_verifications(verified: dict[str, VerifiedPackage], mark: GenerationMark, now: datetime) -> int:
    count = 0
    for package in mark.packages:
        last = verified.get(package.name)
        if last is not None and timedelta(0) <= now - parse_utc(last.at) < VERIFIED_LATELY:
            count += 1
    return count


def _scan_site_packages(
    context: CheckContext, production: ProductionEnvironment, mark: GenerationMark
) -> tuple[str, ...]:
    """Return unexpected startup files and missing package folders at the top of `site-packages`.

    Adding or deleting either changes the folder itself, so that its stamp shows it at once.
    """
    stamp = stamp_files(production.folder.glob("lib/python3*/site-packages"))
    files = context.cache.stored.startup
    if files is None or files.stamp != stamp or context.budget.is_full:
        unowned = integrity.find_unowned_startup_files(production.folder)
        missing = integrity.find_missing_toplevel(production.folder, known=mark.unverifiable)
        files = StartupFiles(stamp, unowned, missing)
    context.cache.updates["startup"] = files
    return (*files.strangers, *files.gone)


def _find_incomplete(production: ProductionEnvironment) -> tuple[str, ...]:
    incomplete = []
    for package, folder in production.installed.items():
        # The installer writes RECORD last.
        if not (folder / "RECORD").is_file():
            incomplete.append(f"{package.name} {package.version}")
    return tuple(incomplete)


def _format_packages(packages: Iterable[InstalledPackage]) -> tuple[str, ...]:
    return tuple(f"{package.name} {package.version}" for package in sorted(packages))


def _describe_faults(facts: ProductionFacts) -> list[str]:
    faults = (
        ("not there", facts.missing),
        ("installed by halves", facts.incomplete),
        ("changed files", facts.modified_files),
        ("installed outside of gov", facts.unexpected),
    )
    return [f"{fault}: {shorten_names(names)}" for fault, names in faults if names]


def _build_result(
    status: CheckStatus, evidence: str, action: str | None = None, items: tuple[str, ...] = ()
) -> CheckResult:
    return CheckResult(
        name=CHECK.name, vital=True, status=status, evidence=evidence, action=action, items=tuple(sorted(items))
    )


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context))


CHECK = Check("production", _run)
