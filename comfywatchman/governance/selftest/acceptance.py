"""Trying the whole chain of governance on a scratch copy: packages of its own, a stand-in for ComfyUI, no network."""

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
from comfywatchman.base.process import run_bounded
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
_PRINT_VERSIONS: Final = "import importlib, sys; print(*[importlib.import_module(n).__version__ for n in sys.argv[1:]])"
_RETENTION: Final = 3


class _StepError(Exception):
    """A step did not do what it should; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class SelftestStep:
    """One step: its name, whether it did what it should (None when it was not tried), and what was seen."""

    name: str
    ok: bool | None
    detail: str


@dataclass
class _SelftestSite:
    """The scratch copy, and what its steps remember for later ones."""

    folder: Path
    clock: Clock
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> GovLayout:
        return GovLayout(self.folder / "env")

    @property
    def comfyui(self) -> Path:
        return self.folder / "ComfyUI"

    @contextmanager
    def opened(self) -> Iterator[GovContext]:
        with open_context(
            self.layout.root, comfyui=self.comfyui, command="gov test", clock=self.clock, network={}, is_new=True
        ) as ground:
            yield ground

    def configure(self, table: str, key: str, value: object) -> None:
        path = self.layout.config
        document = tomlkit.parse(path.read_text("utf-8") if path.exists() else read_default_config())
        document[table][key] = value
        write_atomic(path, tomlkit.dumps(document).encode("utf-8"))

    def node(self, name: str, requirement: str) -> None:
        """Put a node into custom_nodes and register it."""
        folder = self.comfyui / "custom_nodes" / name
        write_atomic(folder / "__init__.py", b"NODE_CLASS_MAPPINGS = {}\n")
        write_atomic(folder / "requirements.txt", f"{requirement}\n".encode())
        with self.opened() as ground:
            add.adopt_node(ground, name)

    def tried(self, name: str) -> Transaction:
        with self.opened() as ground:
            return run_transaction(ground, name)

    def promoted(self, txid: str) -> Transaction:
        with self.opened() as ground:
            return promotion.promote(ground, txid, Consent(), report=conflict_report.report_conflict)

    def versions(self, *names: str) -> str:
        """Return the versions that production imports of some packages."""
        python = find_production_interpreter(self.layout)
        if python is None:
            raise _StepError("there is no environment in production")
        ended = run_bounded([str(python), "-I", "-c", _PRINT_VERSIONS, *names], timeout_seconds=_SECONDS)
        return ended.output.decode("utf-8", "replace").strip() if ended.status == 0 else "not importable"


def run_selftest(
    folder: Path, *, clock: Clock, progress: Callable[[str], None] = lambda _name: None
) -> tuple[SelftestStep, ...]:
    """Try every step in a folder that is empty and this program's own.

    Args:
        folder: Where the scratch copy is made; it stays.
        clock: The clocks of this machine.
        progress: Told the name of each step as it begins.

    Returns:
        The steps; those after one that failed were not tried.
    """
    bench = _SelftestSite(folder, clock)
    _prepare_site(bench)
    steps: list[SelftestStep] = []
    for name, act in _STEPS.items():
        if steps and steps[-1].ok is not True:
            steps.append(SelftestStep(name, None, "not tried, as a step before it failed"))
            continue
        progress(name)
        try:
            steps.append(SelftestStep(name, True, act(bench)))
        except (Failure, _StepError) as error:
            steps.append(SelftestStep(name, False, str(error)))
    return tuple(steps)


def _prepare_site(bench: _SelftestSite) -> None:
    wheels = bench.folder / "wheels"
    for version in ("1.0", "2.0"):
        add_wheel(wheels, "base_pack", version)
        add_wheel(wheels, "shared_pack", version)
    add_wheel(wheels, "left_pack", "1.0", requires=["shared_pack<2"])
    add_wheel(wheels, "right_pack", "1.0", requires=["shared_pack>=2"])
    add_wheel(wheels, "extra_pack", "1.0")
    write_atomic(bench.comfyui / "main.py", b'print("a stand-in for ComfyUI")\n')
    write_atomic(bench.comfyui / "requirements.txt", b"base_pack==1.0\n")
    (bench.comfyui / "custom_nodes").mkdir()
    bench.configure("network", "no_index", value=True)
    bench.configure("network", "find_links", [str(wheels)])
    bench.configure("network", "cache_dir", str(bench.folder / "cache"))
    bench.configure("policy", "core_packages", ["base_pack"])


def _check_init(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        init.init(ground)
        (first,) = snapshot.read_all(ground.layout)
    bench.seen["first"] = first.id
    _require_equal(bench.versions("base_pack"), "1.0")
    return "production imports what ComfyUI requires"


def _check_run(bench: _SelftestSite) -> str:
    bench.node("left", "left_pack")
    tried = bench.tried("left")
    _require_equal(tried.status, "completed")
    _require_equal(bench.versions("left_pack"), "not importable")
    bench.seen["left"] = tried.txid
    return f"{pluralize(len(tried.diff.added), 'package')} came into the candidate, production did not change"


def _check_promote(bench: _SelftestSite) -> str:
    done = bench.promoted(bench.seen["left"])
    _require_equal(done.status, "promoted")
    _require_equal(bench.versions("left_pack", "shared_pack"), "1.0 1.0")
    return "production imports what was tried"


def _check_core_packages(bench: _SelftestSite) -> str:
    bench.node("core", "base_pack==2.0")
    tried = bench.tried("core")
    try:
        bench.promoted(tried.txid)
    except Failure as failure:
        _require_equal(failure.code, "gov-core-approval")
        with bench.opened() as ground:
            registry.unregister(ground, "core", purge_code=True)
        return "a changed core package needs approval"
    raise _StepError("a core package was changed without approval")


def _check_conflict(bench: _SelftestSite) -> str:
    bench.node("right", "right_pack")
    tried = bench.tried("right")
    done = bench.promoted(tried.txid)
    _require_equal(done.status, "needs_resolution")
    bench.seen["right"] = tried.txid
    with bench.opened() as ground:
        report = resolve.read_report(ground.layout, tried.txid)
    if report is None:
        raise _StepError("there is no conflict report")
    return report.summary


def _check_resolve(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        solved = resolve.resolve(ground, bench.seen["right"], ["shared_pack==2.0"])
    _require_equal(solved.status, "resolved")
    _require_equal(bench.promoted(solved.txid).status, "promoted")
    _require_equal(bench.versions("left_pack", "right_pack", "shared_pack"), "1.0 1.0 2.0")
    return "pins made both nodes work together"


def _check_smoke_test(bench: _SelftestSite) -> str:
    bench.node("extra", "extra_pack")
    tried = bench.tried("extra")
    before = snapshot.read_root_files(bench.layout)
    bench.configure("tx", "smoke_test_cmd", "exit 3")
    try:
        ended: str = bench.promoted(tried.txid).status
    except Failure as failure:
        ended = failure.code
    bench.configure("tx", "smoke_test_cmd", "")
    if ended == "promoted" or before != snapshot.read_root_files(bench.layout):
        raise _StepError(f"a failed smoke test gave {ended}, or changed a truth file")
    bench.seen["extra"] = tried.txid
    return "a failed smoke test left production as it was"


def _check_abort(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        done = transaction.abort(ground.layout, ground.clock, bench.seen["extra"])
    _require_equal(done.status, "aborted")
    if (bench.layout.candidates / done.txid).exists():
        raise _StepError("the candidate environment is still there")
    return "the candidate environment is gone"


def _check_remove(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        registry.unregister(ground, "right")
    _require_equal(bench.versions("right_pack"), "not importable")
    _require_equal(bench.versions("left_pack", "shared_pack"), "1.0 1.0")
    return "its packages and its pins are gone"


def _check_rollback(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        operation = rollback.rollback(ground, bench.seen["first"])
        wanted = snapshot.read_contents(ground.layout, bench.seen["first"])
    if wanted != snapshot.read_root_files(bench.layout):
        raise _StepError("the truth files are not those of the snapshot")
    _require_equal(bench.versions("left_pack"), "not importable")
    bench.seen["rollback"] = operation.op_id
    return "truth files and production are those of the first snapshot"


def _check_undo(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        rollback.undo(ground, bench.seen["rollback"])
    _require_equal(bench.versions("left_pack"), "1.0")
    return "the rollback was taken back"


def _check_retention(bench: _SelftestSite) -> str:
    bench.configure("rollback", "snapshot_retention", _RETENTION)
    with bench.opened() as ground:
        registry.unregister(ground, "extra")
        kept = len(snapshot.read_all(ground.layout))
    _require_equal(str(kept), str(_RETENTION))
    return f"{pluralize(kept, 'snapshot')} kept"


def _check_checks(bench: _SelftestSite) -> str:
    with bench.opened() as ground:
        results = run_checks(ground, driver=GpuDriver(present=False), budget_seconds=None)
    failed = [f"{one.name}: {one.evidence}" for one in results if one.status == "fail"]
    if failed:
        raise _StepError("; ".join(failed))
    return f"{pluralize(len(results), 'check')}, none fails"


def _require_equal(seen: str, wanted: str) -> None:
    if seen != wanted:
        raise _StepError(f"{seen!r} in place of {wanted!r}")


_STEPS: Final[dict[str, Callable[[_SelftestSite], str]]] = {
    "init": _check_init,
    "tx run": _check_run,
    "tx promote": _check_promote,
    "core gate": _check_core_packages,
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
