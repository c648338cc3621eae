"""Packages that own the same files: found before they are installed, and reported with the package to keep."""

from __future__ import annotations

from collections.abc import Sequence

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.environments import generation, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.snapshot import read_root_files
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import ConflictReport
from comfywatchman.governance.store.records import Finding, RegisteredNode, SharedFiles, Transaction
from comfywatchman.governance.store.uv_lock import parse_packages
from comfywatchman.governance.uv.shared_modules import SharedModule, describe_packages, find_shared_modules

DROP_MARKER = "sys_platform == 'never'"
"""uv drops a requirement whose override has a marker that never applies."""


def find_in_plan(context: GovContext, node: RegisteredNode, lines: Sequence[str]) -> tuple[SharedModule, ...]:
    """Return the shared modules that requirement lines of a node would bring into production; nothing is installed.

    None are found when the lines cannot be locked: the installation then shows why.

    Args:
        context: The governed root; its lock must be held.
        node: The node.
        lines: Its requirement lines.

    Raises:
        Failure: `gov-truth-damaged` or `state-unwritable`.
    """
    with staging.open_staging(context.layout) as work:
        before = (work.folder / "uv.lock").read_text("utf-8")
        work.edit_project(lambda text: truth.set_group(text, node.group, lines))
        if not work.lock(context.uv, context.python).is_success:
            return ()
        return find_new_shared(before, (work.folder / "uv.lock").read_text("utf-8"))


def find_new_shared(before: str, after: str) -> tuple[SharedModule, ...]:
    """Return the modules that several packages of a lock install, and that they do not share in the lock before.

    Args:
        before: The content of the present uv.lock.
        after: The content of the new one.
    """
    known = {module.packages for module in find_shared_modules(_parse_names(before))}
    return tuple(module for module in find_shared_modules(_parse_names(after)) if module.packages not in known)


def build_findings(shared: Sequence[SharedModule]) -> tuple[Finding, ...]:
    """Return a finding for each module that a trial would install twice."""
    findings = []
    for module in shared:
        detail = (
            f"{describe_packages(module.module, module.packages)} own the same files: which of them counts is chance. "
            f"A promotion asks which one to keep; {module.keep} has what all of them have."
        )
        findings.append(Finding(name="files", status="warn", detail=detail))
    return tuple(findings)


def report_shared(context: GovContext, tried: Transaction, shared: Sequence[SharedModule]) -> ConflictReport:
    """Write the conflict report about packages that own the same files, and return it.

    Raises:
        Failure: `state-unwritable`.
    """
    in_production = _parse_names(read_root_files(context.layout).get("uv.lock", b"").decode("utf-8", "replace"))
    parts = []
    for module in shared:
        names = [f"{name} (in production)" if name in in_production else name for name in module.packages]
        parts.append(f"{describe_packages(module.module, names)} own the same files")
    keep: list[str] = []
    for module in shared:
        keep += [module.keep, *module.packages]
    report = ConflictReport(
        txid=tried.txid,
        node_id=tried.node_id,
        created_at=format_utc(context.clock.now()),
        kind="same_files",
        confidence="verified",
        summary=f"{'; '.join(parts)}. Only one of them can be as it was published.",
        detected_packages=tuple(sorted(name for module in shared for name in module.packages)),
        shared=tuple(SharedFiles(module=module.module, packages=module.packages) for module in shared),
        # The best choice is usually one of the packages, too.
        keep=tuple(dict.fromkeys(keep)),
        input_hint="Use: --keep package",
    )
    write_atomic(context.layout.conflicts / f"{tried.txid}.json", to_json(report))
    return report


def find_dropped(report: ConflictReport | None, keep: str) -> tuple[str, ...]:
    """Return the packages that own the files of a package to keep.

    Raises:
        Failure: `gov-bad-pin` when the package does not take part in the report.
    """
    for shared in report.shared if report is not None else ():
        # The package that has everything need not be among those that would be installed.
        superset = find_shared_modules(shared.packages)
        if keep in shared.packages or any(module.keep == keep for module in superset):
            return tuple(name for name in shared.packages if name != keep)
    options = ", ".join(report.keep) if report is not None and report.keep else "none"
    raise Failure(
        "gov-bad-pin",
        f"{keep[:100]!r} is not one of several packages with the same files.",
        hint=f"Choices: {options}.",
    )


def find_production_shared(context: GovContext) -> tuple[SharedFiles, ...]:
    """Return the files that several packages of production own."""
    mark = generation.read_mark(context.layout, generation.current_key(context.layout))
    return mark.shared if mark is not None else ()


def _parse_names(lock: str) -> frozenset[str]:
    return frozenset(package.name for package in parse_packages(lock))
