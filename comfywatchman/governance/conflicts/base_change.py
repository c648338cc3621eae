"""`gov init` with pins: conflicts between ComfyUI's own requirements and those of nodes are reported and resolved."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.conflicts.report import report_conflict
from comfywatchman.governance.conflicts.resolve import read_report
from comfywatchman.governance.environments import init as environment_init
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import BASE_REPORT
from comfywatchman.governance.store.records import Operation, Transaction
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.store.uv_lock import parse_packages
from comfywatchman.governance.transactions.shared_packages import DROP_MARKER
from comfywatchman.governance.uv import overrides
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.shared_modules import find_shared_modules

KEPT_GROUP = "kept"
"""The dependency group of packages that were kept among several with the same files."""


def init_with_choices(context: GovContext, *, pins: Sequence[str] = (), keep: Sequence[str] = ()) -> Operation | None:
    """Run `gov init` with versions to enforce, and packages to keep among those that own the same files.

    Args:
        context: The governed root; its lock must be held.
        pins: Pins, `package==version`; they become overrides in pyproject.toml.
        keep: Packages to keep.

    Raises:
        Failure: `gov-needs-resolution` when packages conflict, with the report in `state/conflicts/init.json`;
            `gov-bad-pin`; others as `environments.init.init`.
    """
    merged = overrides.merge_pins((), pins)

    def edit(work: StagingDir) -> None:
        _drop_duplicates(work, [canonicalize_name(name.strip()) for name in keep])
        if merged:
            _add_pins(context, work, merged)

    def explain(work: StagingDir, failure: UvResult) -> None:
        _report(context, work, failure, merged)

    return environment_init.init(context, edit=edit, explain=explain)


def _add_pins(context: GovContext, work: StagingDir, pins: Sequence[str]) -> None:
    """Add the narrowest overrides with which pins can be resolved; global ones when none can."""
    project = work.read_project()

    def add_overrides(additions: Sequence[Override]) -> str:
        merged = overrides.merge_node_overrides((), (), [truth.parse_overrides(project), additions])
        return truth.set_overrides(project, [overrides.to_record(override) for override in merged])

    report = read_report(context.layout, BASE_REPORT)
    edges = () if report is None else report.edges
    extras = trial_resolution.find_extras(context.layout, project, environment="")
    additions = trial_resolution.find_overrides(context, pins, add_overrides, edges=edges, extras=extras)
    if isinstance(additions, UvResult):
        # Locking with these shows why that fails.
        additions = overrides.build_global_overrides(pins, extras)
    work.write_project(add_overrides(additions))


def _drop_duplicates(work: StagingDir, keep: Sequence[str]) -> None:
    lock = work.folder / "uv.lock"
    names = {package.name for package in parse_packages(lock.read_text("utf-8"))} if keep and lock.exists() else set()
    shared = find_shared_modules(names)
    for name in keep:
        module = next((module for module in shared if name in {*module.packages, module.keep}), None)
        if module is None:
            reason = f"{name[:100]!r} is not one of several locked packages with the same files."
            choices = ", ".join(module.keep for module in shared) or "none"
            raise Failure("gov-bad-pin", reason, hint=f"Choices: {choices}.")
        drops = [f"{other} ; {DROP_MARKER}" for other in module.packages if other != name]
        text = work.read_project()
        kept = {*truth.parse_groups(text).get(KEPT_GROUP, ()), name}
        merged = overrides.merge_node_overrides((), (), [truth.parse_overrides(text), drops])
        text = truth.set_overrides(text, [overrides.to_record(override) for override in merged])
        work.write_project(truth.set_group(text, KEPT_GROUP, sorted(kept)))


def _report(context: GovContext, work: StagingDir, failure: UvResult, pins: tuple[str, ...]) -> None:
    """Explain why the packages cannot be locked.

    Raises:
        Failure: `gov-needs-resolution` for a conflict that pins may solve.
    """
    now = format_utc(context.clock.now())
    change = Transaction(txid=BASE_REPORT, node_id="", started_at=now, resolution_pins=pins)
    report = report_conflict(context, change, failure, work.folder, step="init")
    if report.kind in {"conflict", "not_found"}:
        raise Failure(
            "gov-needs-resolution",
            report.summary,
            hint="Production is unchanged. Choose: gov init --pin PACKAGE==VERSION",
        )
