"""Run the whole chain of governance on a scratch copy: with its own packages, a stand-in for ComfyUI, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import tomlkit

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.process import run_with_timeout
from comfywatchman.base.text import pluralize
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.conflicts import report as conflict_report
from comfywatchman.governance.conflicts import resolve
from comfywatchman.governance.environments import init, rollback, snapshot
from comfywatchman.governance.environments.access import open_context
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes import add, registry
from comfywatchman.governance.selftest.wheels import add_wheel
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.store.settings import read_default_config
from comfywatchman.governance.transactions import promotion, transaction
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.run import run_transaction
from comfywatchman.governance.trial.trial import find_production_interpreter

_SECONDS: Final = 60.0
_PRINT_VERSIONS: Final = (
    "import importlib, sys; print(*[importlib.import_module(name).__version__ for name in sys.argv[1:]])"
)
_NOT_IMPORTABLE: Final = "not importable"
_RETENTION: Final = 3


class _StepError(Exception):
    """A step has failed; the message holds the observation."""


@dataclass(frozen=True, slots=True)
class SelftestStep:
    """One step.

    Attributes:
        name: Its name.
        ok: Whether it succeeded; None when it was not run.
        detail: The observation.
    """

    name: str
    ok: bool | None
    detail: str


@dataclass
class _SelftestSite:
    """The scratch copy.

    Attributes:
        folder: Its folder.
        clock: The clock.
        ids: Ids of transactions, snapshots and operations that later steps need, by name.
    """

    folder: Path
    clock: Clock
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> GovLayout:
        return GovLayout(self.folder / "env")

    @property
    def comfyui(self) -> Path:
        return self.folder / "ComfyUI"

    @contextmanager
    def open(self) -> Iterator[GovContext]:
        with open_context(
            self.layout.root, comfyui=self.comfyui, command="gov test", clock=self.clock, network={}, is_new=True
        ) as context:
            yield context

    def configure(self, table: str, key: str, value: object) -> None:
        path = self.layout.config
        document = tomlkit.parse(path.read_text("utf-8") if path.exists() else read_default_config())
        document[table][key] = value
        write_atomic(path, tomlkit.dumps(document).encode("utf-8"))

    def register_node(self, name: str, requirement: str) -> None:
        """Create a node in custom_nodes and register it."""
        folder = self.comfyui / "custom_nodes" / name
        write_atomic(folder / "__init__.py", b"NODE_CLASS_MAPPINGS = {}\n")
        write_atomic(folder / "requirements.txt", f"{requirement}\n".encode())
        with self.open() as context:
            add.adopt_node(context, name)

    def try_node(self, name: str) -> Transaction:
        with self.open() as context:
            return run_transaction(context, name)

    def promote(self, txid: str) -> Transaction:
        with self.open() as context:
            return promotion.promote(context, txid, Consent(), report=conflict_report.report_conflict)

    def read_versions(self, *names: str) -> str:
        """Return the versions of some packages as production imports them."""
        python = find_production_interpreter(self.layout)
        if python is None:
            raise _StepError("there is no environment in production")
        # Isolated mode: variables and the working folder of the user must not change the imports.
        result = run_with_timeout([str(python), "-I", "-c", _PRINT_VERSIONS, *names], timeout_seconds=_SECONDS)
        if result.status != 0:
            return _NOT_IMPORTABLE
        return result.output.decode("utf-8", "replace").strip()


def run_selftest(
    folder: Path, *, clock: Clock, progress: Callable[[str], None] = lambda _name: None
) -> tuple[SelftestStep, ...]:
    """Run every step in an empty private folder.

    Args:
        folder: The folder for the scratch copy; it is kept.
        clock: The clock.
        progress: Receives the name of each step as it begins.

    Returns:
        The steps; those after a failed one were not run.
    """
    site = _SelftestSite(folder, clock)
    _prepare_site(site)
    steps: list[SelftestStep] = []
    for name, check in _STEPS.items():
        # Each step builds on the state that the one before left.
        if steps and steps[-1].ok is not True:
            steps.append(SelftestStep(name, None, "not run, because an earlier step failed"))
            continue
        progress(name)
        try:
            steps.append(SelftestStep(name, True, check(site)))
        except (Failure, _StepError) as error:
            steps.append(SelftestStep(name, False, str(error)))
    return tuple(steps)


def _prepare_site(site: _SelftestSite) -> None:
    """Create the packages and the stand-in for ComfyUI; the left and the right package conflict."""
    wheels = site.folder / "wheels"
    for version in ("1.0", "2.0"):
        add_wheel(wheels, "base_pack", version)
        add_wheel(wheels, "shared_pack", version)
    add_wheel(wheels, "left_pack", "1.0", requires=["shared_pack<2"])
    add_wheel(wheels, "right_pack", "1.0", requires=["shared_pack>=2"])
    add_wheel(wheels, "extra_pack", "1.0")
    write_atomic(site.comfyui / "main.py", b'print("a stand-in for ComfyUI")\n')
    write_atomic(site.comfyui / "requirements.txt", b"base_pack==1.0\n")
    (site.comfyui / "custom_nodes").mkdir()
    site.configure("network", "no_index", value=True)
    site.configure("network", "find_links", [str(wheels)])
    site.configure("network", "cache_dir", str(site.folder / "cache"))
    site.configure("policy", "core_packages", ["base_pack"])


def _check_init(site: _SelftestSite) -> str:
    with site.open() as context:
        init.init(context)
        (first,) = snapshot.read_all(context.layout)
    site.ids["first snapshot"] = first.id
    _require_equal(site.read_versions("base_pack"), "1.0")
    return "production imports the requirements of ComfyUI"


def _check_run(site: _SelftestSite) -> str:
    site.register_node("left", "left_pack")
    tried = site.try_node("left")
    _require_equal(tried.status, "completed")
    _require_equal(site.read_versions("left_pack"), _NOT_IMPORTABLE)
    site.ids["left"] = tried.txid
    return f"{pluralize(len(tried.diff.added), 'package')} added to the candidate, production is unchanged"


def _check_promote(site: _SelftestSite) -> str:
    promoted = site.promote(site.ids["left"])
    _require_equal(promoted.status, "promoted")
    _require_equal(site.read_versions("left_pack", "shared_pack"), "1.0 1.0")
    return "production imports the tried packages"


def _check_core_packages(site: _SelftestSite) -> str:
    site.register_node("core", "base_pack==2.0")
    tried = site.try_node("core")
    try:
        site.promote(tried.txid)
    except Failure as failure:
        _require_equal(failure.code, "gov-core-approval")
        with site.open() as context:
            registry.unregister(context, "core", purge_code=True)
        return "a change of a core package needs approval"
    raise _StepError("a core package was changed without approval")


def _check_conflict(site: _SelftestSite) -> str:
    site.register_node("right", "right_pack")
    tried = site.try_node("right")
    conflicting = site.promote(tried.txid)
    _require_equal(conflicting.status, "needs_resolution")
    site.ids["right"] = tried.txid
    report = resolve.read_report(site.layout, tried.txid)
    if report is None:
        raise _StepError("there is no conflict report")
    return report.summary


def _check_resolve(site: _SelftestSite) -> str:
    with site.open() as context:
        resolved = resolve.resolve(context, site.ids["right"], ["shared_pack==2.0"])
    _require_equal(resolved.status, "resolved")
    _require_equal(site.promote(resolved.txid).status, "promoted")
    _require_equal(site.read_versions("left_pack", "right_pack", "shared_pack"), "1.0 1.0 2.0")
    return "pins resolved the conflict of both nodes"


def _check_smoke_test(site: _SelftestSite) -> str:
    site.register_node("extra", "extra_pack")
    tried = site.try_node("extra")
    before = snapshot.read_root_files(site.layout)
    site.configure("tx", "smoke_test_cmd", "exit 3")
    try:
        outcome: str = site.promote(tried.txid).status
    except Failure as failure:
        outcome = failure.code
    site.configure("tx", "smoke_test_cmd", "")
    if outcome == "promoted" or before != snapshot.read_root_files(site.layout):
        raise _StepError(f"a failed smoke test ended with {outcome}, or changed a truth file")
    site.ids["extra"] = tried.txid
    return "a failed smoke test left production unchanged"


def _check_abort(site: _SelftestSite) -> str:
    with site.open() as context:
        aborted = transaction.abort(context.layout, context.clock, site.ids["extra"])
    _require_equal(aborted.status, "aborted")
    if (site.layout.candidates / aborted.txid).exists():
        raise _StepError("the candidate environment still exists")
    return "the candidate environment was deleted"


def _check_remove(site: _SelftestSite) -> str:
    with site.open() as context:
        # Its pin on shared_pack must go with it, or left_pack would keep a version that it does not accept.
        registry.unregister(context, "right")
    _require_equal(site.read_versions("right_pack"), _NOT_IMPORTABLE)
    _require_equal(site.read_versions("left_pack", "shared_pack"), "1.0 1.0")
    return "its packages and its pins were removed"


def _check_rollback(site: _SelftestSite) -> str:
    first = site.ids["first snapshot"]
    with site.open() as context:
        operation = rollback.rollback(context, first)
    if snapshot.read_contents(site.layout, first) != snapshot.read_root_files(site.layout):
        raise _StepError("the truth files differ from the snapshot")
    _require_equal(site.read_versions("left_pack"), _NOT_IMPORTABLE)
    site.ids["rollback"] = operation.op_id
    return "truth files and production match the first snapshot"


def _check_undo(site: _SelftestSite) -> str:
    with site.open() as context:
        rollback.undo(context, site.ids["rollback"])
    _require_equal(site.read_versions("left_pack"), "1.0")
    return "the rollback was undone"


def _check_retention(site: _SelftestSite) -> str:
    site.configure("rollback", "snapshot_retention", _RETENTION)
    with site.open() as context:
        registry.unregister(context, "extra")
    count = len(snapshot.read_all(site.layout))
    _require_equal(str(count), str(_RETENTION))
    return f"{pluralize(count, 'snapshot')} kept"


def _check_checks(site: _SelftestSite) -> str:
    with site.open() as context:
        # Nodes of refused and undone steps are still in custom_nodes; production must not hold their packages.
        for folder in context.custom_nodes.iterdir():
            (folder / "requirements.txt").unlink(missing_ok=True)
        results = run_checks(context, driver=GpuDriver(present=False), budget_seconds=None)
    failed = [f"{result.name}: {result.evidence}" for result in results if result.status == "fail"]
    if failed:
        raise _StepError("; ".join(failed))
    return f"{pluralize(len(results), 'check')}, none failed"


def _require_equal(actual: str, expected: str) -> None:
    if actual != expected:
        raise _StepError(f"got {actual!r} instead of {expected!r}")


_STEPS: Final[dict[str, Callable[[_SelftestSite], str]]] = {
    "init": _check_init,
    "tx run": _check_run,
    "tx promote": _check_promote,
    "core packages": _check_core_packages,
    "conflict": _check_conflict,
    "resolve": _check_resolve,
    "smoke test": _check_smoke_test,
    "tx abort": _check_abort,
    "node remove": _check_remove,
    "rollback": _check_rollback,
    "undo": _check_undo,
    "retention": _check_retention,
    "check": _check_checks,
}
