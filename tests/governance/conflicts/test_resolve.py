"""Resolving conflicts, with real trials and promotions over tiny wheels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.conflicts import report as conflict_report
from comfywatchman.governance.conflicts import resolve
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import ConflictReport, RequirementEdge
from comfywatchman.governance.store.records import Transaction, TransactionStatus
from comfywatchman.governance.transactions import promotion, transaction
from comfywatchman.governance.transactions.gates import Consent
from tests.governance.contexts import Site, build_site
from tests.governance.node_steps import promote_node, try_node
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow

SCOPED = {"package": {"name": "midlet"}, "dependencies": ["numlet[fast]==1.0"]}


def _build_site(folder: Path) -> Site:
    site = build_site(folder, requirements=("corelet==1.0", "numlet<2", "weblet"), init=False)
    site.configure(tx={"probe": False})
    add_wheel(site.wheels, "midlet", "1.0", requires=["numlet>=1"])
    add_wheel(site.wheels, "midlet", "2.0", requires=["numlet[fast]>=2", "plainlet"])
    for version in ("1.0", "2.0"):
        add_wheel(site.wheels, "numlet", version, extras={"fast": ["fastlet"]}, files={"numlet/linalg.py": version})
    add_wheel(site.wheels, "fastlet", "1.0", extras={"more": ["corelet"]})
    add_wheel(site.wheels, "weblet", "1.0", requires=["fastlet[more]"])
    site.init()
    return site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A root whose ComfyUI wants numlet<2, and a package `midlet` whose second version wants numlet>=2."""
    return _build_site(tmp_path)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Transaction]:
    """The same root with a transaction that waits for pins; nothing is promoted here."""
    site = _build_site(tmp_path_factory.mktemp("site"))
    return site, promote_node(site, try_node(site, "heavy", "midlet>=2").txid)


@pytest.fixture
def waiting(still: tuple[Site, Transaction]) -> Iterator[tuple[Site, Transaction]]:
    """`still`, with the transaction and its report put back after the test."""
    site, clashed = still
    path = site.layout.conflicts / f"{clashed.txid}.json"
    report = path.read_bytes()
    yield still
    path.write_bytes(report)
    with site.opened() as context:
        transaction.save(context.layout, clashed)


def _resolve(site: Site, txid: str, *pins: str) -> Transaction:
    with site.opened() as context:
        return resolve.resolve(context, txid, pins)


def test_pins_resolve_a_conflict_and_leave_with_the_node(site: Site) -> None:
    clashed = promote_node(site, try_node(site, "heavy", "midlet>=2").txid)
    assert clashed.status == "needs_resolution"
    before = {name: site.layout.truth_file(name).read_bytes() for name in ("pyproject.toml", "uv.lock")}
    resolved = _resolve(site, clashed.txid, "numlet==1.0")
    assert (resolved.status, resolved.error, resolved.resolution_pins) == ("resolved", None, ("numlet==1.0",))
    assert {name: site.layout.truth_file(name).read_bytes() for name in before} == before
    done = promote_node(site, clashed.txid)
    assert done.status == "promoted"
    assert site.run_in_production("import numlet, midlet; print(numlet.__version__, midlet.__version__)") == "1.0 2.0"
    assert site.run_in_production("import fastlet, plainlet; print('there')") == "there"
    assert truth.parse_overrides(site.layout.pyproject.read_text()) == (SCOPED,)
    assert done.promotion is not None
    assert [line for line in done.promotion.accepted_violations if "numlet[fast]>=2" in line]
    with site.opened() as context:
        registry.unregister(context, "heavy")
    assert {name: site.layout.truth_file(name).read_bytes() for name in before} == before


def test_only_the_contradicting_package_is_overruled(
    waiting: tuple[Site, Transaction],
) -> None:
    site, clashed = waiting
    resolved = _resolve(site, clashed.txid, "NumLet == 1.0")
    assert resolved.promotion_plan is not None
    assert resolved.promotion_plan.override_additions == (SCOPED,)


def test_pin_against_a_node_is_global(site: Site) -> None:
    found = promote_node(site, try_node(site, "plain", "numlet>=2").txid)
    resolved = _resolve(site, found.txid, "numlet==1.0")
    assert resolved.status == "resolved"
    assert resolved.promotion_plan is not None
    assert resolved.promotion_plan.override_additions == ("numlet==1.0",)
    assert promote_node(site, found.txid).status == "promoted"
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"


def test_useless_pins_give_a_new_report(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    first = (site.layout.conflicts / f"{clashed.txid}.json").read_bytes()
    failed = _resolve(site, clashed.txid, "plainlet==9")
    assert (failed.status, failed.resolution_pins) == ("needs_resolution", ("plainlet==9",))
    assert failed.error
    assert (site.layout.conflicts / f"{clashed.txid}.json").read_bytes() != first
    assert (site.layout.logs / f"{clashed.txid}.resolve.lock.log").is_file()
    mended = _resolve(site, clashed.txid, "plainlet==1.0", "numlet==1.0")
    assert (mended.status, mended.resolution_pins) == ("resolved", ("numlet==1.0", "plainlet==1.0"))
    assert _resolve(site, clashed.txid).resolution_pins == ("numlet==1.0", "plainlet==1.0")


def test_later_pin_replaces_an_earlier_one(
    waiting: tuple[Site, Transaction],
) -> None:
    site, clashed = waiting
    _resolve(site, clashed.txid, "numlet==1.0")
    again = _resolve(site, clashed.txid, "numlet==2.0")
    assert (again.status, again.resolution_pins) == ("resolved", ("numlet==2.0",))
    assert again.promotion_plan is not None
    assert again.promotion_plan.override_additions == ("numlet[fast]==2.0",)


def test_nonexistent_pin_is_reported_and_can_be_dropped(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    failed = _resolve(site, clashed.txid, "numlet==1!0", "nosuchpkg==1", "plainlet==1.0")
    assert (failed.error or "").startswith("The pinned nosuchpkg==1, numlet==1!0 does not exist")
    assert f"gov resolve {clashed.txid} --drop nosuchpkg --drop numlet" in (failed.error or "")
    with site.opened() as context:
        report = resolve.read_report(context.layout, clashed.txid)
        assert report is not None
        assert (report.kind, [edge.source for edge in report.clash]) == ("not_found", ["pin", "pin"])
        done = resolve.resolve(context, clashed.txid, ["numlet==1.0"], drop=["NoSuchPkg", "numlet"])
        assert (done.status, done.resolution_pins) == ("resolved", ("numlet==1.0", "plainlet==1.0"))
        with pytest.raises(Failure, match="The package 'nosuchpkg' is not pinned"):
            resolve.resolve(context, clashed.txid, [], drop=["nosuchpkg"])


def test_core_package_from_an_address_is_a_core_change(
    waiting: tuple[Site, Transaction],
) -> None:
    site, clashed = waiting
    assert clashed.promotion_plan is not None
    wheel = add_wheel(site.folder / "elsewhere", "corelet", "1.0", files={"corelet/other.py": ""})
    lines = (f"corelet @ {wheel.as_uri()}",)
    plan = msgspec.structs.replace(clashed.promotion_plan, direct_additions=lines)
    site.configure(policy={"core_packages": ["corelet"]})
    text = site.layout.pyproject.read_text("utf-8")
    site.layout.pyproject.write_text(text.replace('"corelet==1.0"', '"corelet"'), "utf-8")
    truth_now = transaction.hash_truth_files(site.layout)
    with site.opened() as context:
        moved = msgspec.structs.replace(
            clashed, promotion_plan=plan, truth_sha256=truth_now, status="promote_failed", post_freeze=()
        )
        transaction.save(context.layout, moved)
        done = resolve.resolve(context, clashed.txid, [])
        assert done.status == "resolved"
        assert [line.startswith("corelet 1.0 -> ") for line in done.core_impact] == [True]
        refused = Consent()
        with pytest.raises(Failure) as caught:
            promotion.promote(
                context,
                transaction.save(context.layout, msgspec.structs.replace(done, core_impact=())).txid,
                refused,
                report=conflict_report.report_conflict,
            )
        assert caught.value.code == "gov-core-approval"
    site.layout.pyproject.write_text(text, "utf-8")


def test_resolve_without_pins_tries_again(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    assert _resolve(site, clashed.txid).status == "needs_resolution"


def test_removed_node_takes_only_its_own_overrides(site: Site) -> None:
    clashed = promote_node(site, try_node(site, "heavy", "midlet>=2").txid)
    _resolve(site, clashed.txid, "numlet==1.0")
    promote_node(site, clashed.txid)
    other = try_node(site, "other", "newlet")
    assert promote_node(site, other.txid).status == "needs_resolution"
    assert _resolve(site, other.txid, "numlet==1.0").status == "resolved"
    assert promote_node(site, other.txid).status == "promoted"
    with site.opened() as context:
        registry.unregister(context, "heavy")
        assert site.run_in_production("import numlet, newlet; print(numlet.__version__)") == "1.0"
        registry.unregister(context, "other")
    assert truth.parse_overrides(site.layout.pyproject.read_text()) == ()


def test_resolution_updates_the_core_changes(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    site.configure(policy={"core_packages": ["numlet", "midlet"]})
    assert _resolve(site, clashed.txid, "numlet==1.0").core_impact == ("midlet none -> 2.0",)
    assert "numlet 1.0 -> 2.0" in _resolve(site, clashed.txid, "numlet==2.0").core_impact


def test_disagreeing_torch_builds_block_promotion_until_pinned(site: Site) -> None:
    for name, version in (("torch", "2.8.0+cu128"), ("torchvision", "0.23.0+cu128"), ("torchvision", "0.23.0+cu121")):
        add_wheel(site.wheels, name, version)
    found = try_node(site, "torn", "torch==2.8.0+cu128", "torchvision==0.23.0+cu121")
    consent = Consent(approve_core=True, reason="a test")
    with site.opened() as context:
        failed = promotion.promote(context, found.txid, consent, report=conflict_report.report_conflict)
    assert (failed.status, "cu121" in str(failed.error)) == ("promote_failed", True)
    assert _resolve(site, found.txid, "torchvision==0.23.0+cu128").status == "resolved"
    with site.opened() as context:
        assert (
            promotion.promote(context, found.txid, consent, report=conflict_report.report_conflict).status == "promoted"
        )


@pytest.mark.parametrize("status", ["running", "completed", "failed", "aborted", "promoted"])
def test_only_a_conflict_can_be_resolved(waiting: tuple[Site, Transaction], status: TransactionStatus) -> None:
    site, clashed = waiting
    with site.opened() as context:
        transaction.save(context.layout, msgspec.structs.replace(clashed, status=status))
        with pytest.raises(Failure) as caught:
            resolve.resolve(context, clashed.txid, ["numlet==1.0"])
        assert caught.value.code == "gov-transaction-state"
        assert transaction.read(site.layout, clashed.txid).resolution_pins == ()


def test_invalid_pin_changes_nothing(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    with pytest.raises(Failure) as caught:
        _resolve(site, clashed.txid, "numlet==1.0", "numlet>=2")
    assert caught.value.code == "gov-bad-pin"
    with site.opened() as context:
        assert transaction.read(context.layout, clashed.txid) == clashed


def test_stale_trial_is_refused(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    with site.opened() as context:
        transaction.save(context.layout, msgspec.structs.replace(clashed, truth_sha256="0" * 64))
        with pytest.raises(Failure) as caught:
            resolve.resolve(context, clashed.txid, ["numlet==1.0"])
    assert caught.value.code == "gov-candidate-stale"


def test_trial_without_a_plan_is_refused(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    with site.opened() as context:
        transaction.save(context.layout, msgspec.structs.replace(clashed, promotion_plan=None))
        with pytest.raises(Failure) as caught:
            resolve.resolve(context, clashed.txid, [])
    assert caught.value.code == "gov-transaction-state"


def test_choices_name_the_overruled_requirements(waiting: tuple[Site, Transaction]) -> None:
    site, clashed = waiting
    with site.opened() as context:
        report = resolve.read_report(context.layout, clashed.txid)
        assert resolve.read_report(context.layout, "20261121T120000Z-00000000") is None
    assert report is not None
    found = {one.pin: one.overrules for one in resolve.list_choices(report)}
    assert found["midlet==1.0"] == ("midlet>=2 (node heavy)",)
    assert "numlet<2 (base)" in found["numlet==2.0"]
    assert next(iter(found)) == "midlet==1.0"


def test_invalid_line_is_never_overruled() -> None:
    report = ConflictReport(
        txid="t",
        node_id="n",
        created_at="",
        kind="conflict",
        confidence="unparsed",
        summary="",
        clash=(RequirementEdge(source="node n", requirement="?"),),
        suggestions=("a==1",),
    )
    assert resolve.list_choices(report) == (resolve.PinChoice("a==1", ()),)
