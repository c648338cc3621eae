from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from comfywatchman.governance.environments.rollback import undo
from comfywatchman.governance.environments.staging import read_registry
from comfywatchman.governance.nodes.add import adopt_nodes
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import RegisteredNode, Transaction
from comfywatchman.governance.transactions import transaction
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.several import JointTrial, find_untried, run_several, settle
from comfywatchman.governance.transactions.several_promotion import promote_several
from comfywatchman.governance.trial.spec import TrialSpec
from tests.governance import changes
from tests.governance.adoption.old_environments import write_pack
from tests.governance.contexts import build_site
from tests.governance.trial.programs import build_server
from tests.governance.wheels import add_wheel


def make_node(node_id: str) -> RegisteredNode:
    return RegisteredNode(id=node_id, git_url="", ref="", path="", group=f"node-{node_id}")


class Bench:
    """Counts starts; some nodes break every start they are in, some fail by themselves, some clash with another."""

    def __init__(self, *, breaking: str = "", failing: str = "", clashing: Sequence[str] = ()) -> None:
        self.breaking, self.failing, self.clashing = set(breaking), set(failing), set(clashing)
        self.starts = 0

    def __call__(self, nodes: Sequence[RegisteredNode]) -> JointTrial:
        self.starts += 1
        ids = {node.id for node in nodes}
        if culprits := ids & self.breaking:
            return JointTrial(error=f"broken by {''.join(sorted(culprits))}")
        if len(self.clashing) > 1 and self.clashing <= ids:
            return JointTrial(error="clash")
        return JointTrial(failures=dict.fromkeys(ids & self.failing, "no module"))


def run_bench(bench: Bench, count: int = 26) -> tuple[str, dict[str, str]]:
    nodes = [make_node(chr(ord("a") + number)) for number in range(count)]
    passed, _trial, failures = settle(nodes, bench)
    return "".join(node.id for node in passed), failures


def test_nodes_that_start_together_need_one_start() -> None:
    bench = Bench()
    passed, failures = run_bench(bench)
    assert (len(passed), failures, bench.starts) == (26, {}, 1)


def test_node_that_fails_alone_is_named_after_two_starts() -> None:
    bench = Bench(failing="dk")
    passed, failures = run_bench(bench)
    assert (len(passed), failures, bench.starts) == (24, {"d": "no module", "k": "no module"}, 2)


def test_node_that_breaks_the_start_is_found_by_halves() -> None:
    bench = Bench(breaking="q")
    passed, failures = run_bench(bench)
    assert len(passed) == 25
    assert failures == {"q": "broken by q"}
    assert bench.starts <= 16


def test_nodes_that_only_clash_with_each_other_are_kept_apart() -> None:
    passed, failures = run_bench(Bench(clashing="az"))
    assert "a" in passed
    assert "z" in failures
    assert failures["z"].startswith("It does not start together with a")


def test_nothing_that_starts_leaves_nothing() -> None:
    passed, failures = run_bench(Bench(breaking="ab"), count=2)
    assert (passed, failures) == ("", {"a": "broken by a", "b": "broken by b"})


@pytest.mark.slow
def test_several_nodes_are_tried_with_one_start_and_promoted_in_one_commit(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.comfyui / "main.py").write_text(build_server(f"open({str(tmp_path / 'starts')!r}, 'a').write('x')"))
    write_pack(site, "one", "plainlet\n")
    write_pack(site, "two", "oldlet\n")
    write_pack(site, "three")
    (site.comfyui / "custom_nodes" / "two" / "install.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'deeplet'], check=True)\n"
    )
    with site.opened() as context:
        adopt_nodes(context, ["one", "two", "three"])
        tried = run_several(context, ["one", "two", "three"])
    assert [(record.node_id, record.status, record.error) for record in tried] == [
        ("one", "completed", None),
        ("two", "completed", None),
        ("three", "completed", None),
    ]
    assert (tmp_path / "starts").read_text() == "xx"  # one of production, one of all nodes
    assert tried[1].promotion_plan is not None
    assert tried[1].promotion_plan.runtime_additions == ("deeplet==1.0",)
    assert tried[0].promotion_plan is not None
    assert tried[0].promotion_plan.direct_additions == ("plainlet",)
    before = site.layout.uv_lock.read_bytes()
    with site.opened() as context:
        outcome = promote_several(context, [record.txid for record in tried], Consent())
        assert outcome.operation is not None
        assert {record.status for record in transaction.read_all(context.layout)} == {"promoted"}
    assert truth.parse_groups(site.layout.pyproject.read_text())["node-two"] == ("deeplet==1.0", "oldlet")
    assert site.run_in_production("import plainlet, oldlet, deeplet, numlet; print(numlet.__version__)") == "1.0"
    assert read_registry(site.layout).plugins["two"].managed_deps == ("deeplet==1.0", "oldlet")
    changes.assert_consistent(site)
    with site.opened() as context:
        undo(context, outcome.operation.op_id)
    assert site.layout.uv_lock.read_bytes() == before


@pytest.mark.slow
def test_promotion_forgets_old_overrides_and_follows_resolution_pins(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.comfyui / "main.py").write_text(build_server(""))
    write_pack(site, "one", "plainlet\n")
    write_pack(site, "two", "numlet\n")

    def change(record: Transaction, *overrides: str, pins: tuple[str, ...] = ()) -> str:
        assert record.promotion_plan is not None
        plan = msgspec.structs.replace(record.promotion_plan, override_additions=overrides)
        changed = msgspec.structs.replace(record, status="resolved", promotion_plan=plan, resolution_pins=pins)
        return transaction.save(site.layout, changed).txid

    with site.opened() as context:
        adopt_nodes(context, ["one", "two"])
        one, two = run_several(context, ["one", "two"])
        first = promote_several(context, [change(one, "absentlet==1.0"), two.txid], Consent())
        assert first.operation is not None
        one, two = run_several(context, ["one", "two"])
        pinned = change(one, "numlet==1.0", pins=("numlet==1.0",))
        outcome = promote_several(context, [pinned, two.txid], Consent())
    assert outcome.operation is not None
    assert truth.parse_overrides(site.layout.pyproject.read_text()) == ("numlet==1.0",)
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"


@pytest.mark.slow
def test_tried_versions_that_a_pin_excludes_may_move(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.comfyui / "main.py").write_text(build_server(""))
    add_wheel(site.wheels, "hostlet", "1.0", requires=["guestlet==1.0"])
    add_wheel(site.wheels, "hostlet", "2.0", requires=["guestlet==2.0"])
    for version in ("1.0", "2.0"):
        add_wheel(site.wheels, "guestlet", version)
    write_pack(site, "one", "hostlet\n")
    write_pack(site, "two", "plainlet\n")
    with site.opened() as context:
        adopt_nodes(context, ["one", "two"])
        one, two = run_several(context, ["one", "two"])
        assert one.promotion_plan is not None
        plan = msgspec.structs.replace(one.promotion_plan, override_additions=("hostlet==1.0",))
        pinned = msgspec.structs.replace(one, promotion_plan=plan, resolution_pins=("hostlet==1.0",))
        transaction.save(site.layout, pinned)
        outcome = promote_several(context, [one.txid, two.txid], Consent())
    assert outcome.operation is not None
    assert site.run_in_production("import guestlet; print(guestlet.__version__)") == "1.0"


@pytest.mark.slow
def test_node_with_a_url_without_a_name_is_tried_by_itself(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.comfyui / "main.py").write_text(build_server(""))
    write_pack(site, "fine", "plainlet\n")
    write_pack(site, "secretive", "git+https://host.invalid/repository\n")
    with site.opened() as context:
        adopt_nodes(context, ["fine", "secretive"])
        assert find_untried(context) == ("fine", "secretive")
        fine, secretive = run_several(context, ["fine", "secretive"])
        assert "gov tx run secretive" in str(run_several(context, ["secretive"])[0].error)
    assert (fine.status, fine.error) == ("completed", None)
    assert secretive.status == "failed"
    assert secretive.error == (
        "Only its build shows the package of git+https://host.invalid/repository; "
        "try it by itself: gov tx run secretive"
    )


@pytest.mark.slow
def test_error_of_the_system_is_recorded(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    write_pack(site, "one")

    def fail(_spec: TrialSpec) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with site.opened() as context:
        adopt_nodes(context, ["one"])
        (record,) = run_several(context, ["one"], evaluate_trial=fail)
    assert record.status == "failed"
    assert "No space left on device" in str(record.error)
    assert list(site.layout.candidates.iterdir()) == []


@pytest.mark.slow
def test_conflicting_and_breaking_nodes_are_named(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    program = "FAILED = ['sick'] if 'sick' in PACKS else ()\nif 'killer' in PACKS: sys.exit('killed by a node')"
    (site.comfyui / "main.py").write_text(build_server(program))
    write_pack(site, "fine", "plainlet\n")
    write_pack(site, "killer")
    write_pack(site, "older", "oldlet\n")
    write_pack(site, "newer", "newlet\n")
    write_pack(site, "sick")
    names = ["fine", "killer", "older", "newer", "sick"]
    with site.opened() as context:
        adopt_nodes(context, names)
        tried = {record.node_id: record for record in run_several(context, names)}
    assert {name for name in names if tried[name].status == "completed"} in ({"fine", "older"}, {"fine", "newer"})
    assert "could not be imported" in str(tried["sick"].error)
    assert "exited" in str(tried["killer"].error)
    loser = "newer" if tried["older"].status == "completed" else "older"
    assert "cannot be installed together" in str(tried[loser].error)
    assert list(site.layout.candidates.iterdir()) == []
