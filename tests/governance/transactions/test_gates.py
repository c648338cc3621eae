from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.nodes.deny_list import build_deny_list
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import PromotionPlan, Transaction
from comfywatchman.governance.store.settings import PolicyTable
from comfywatchman.governance.transactions import transaction
from comfywatchman.governance.transactions.gates import (
    Consent,
    check_lock,
    check_torch,
    require_approval,
    require_fresh,
    require_promotable,
)

PLAN = PromotionPlan()


def build_transaction(**facts: Any) -> Transaction:
    defaults: dict[str, Any] = {"status": "completed", "promotion_plan": PLAN, "started_at": "2026-11-20T12:00:00Z"}
    return Transaction(txid="tx", node_id="pack", **{**defaults, **facts})


@pytest.mark.parametrize("status", ["completed", "resolved"])
def test_successful_trial_is_promotable(status: str) -> None:
    assert require_promotable(build_transaction(status=status), Consent()) == PLAN


@pytest.mark.parametrize(
    ("facts", "is_allowed_with_consent"),
    [
        ({"status": "failed"}, True),
        ({"integrity": "modified", "modified_files": ("a.py",)}, True),
        ({"status": "failed", "promotion_plan": None}, False),
        ({"status": "needs_resolution"}, False),
        ({"status": "promoted"}, False),
        ({"status": "running"}, False),
    ],
)
def test_other_trials_need_consent_or_are_refused(facts: dict[str, Any], *, is_allowed_with_consent: bool) -> None:
    with pytest.raises(Failure) as caught:
        require_promotable(build_transaction(**facts), Consent())
    assert caught.value.code == "gov-transaction-state"
    assert caught.value.hint
    if is_allowed_with_consent:
        assert require_promotable(build_transaction(**facts), Consent(allow_failed_run=True)) == PLAN
    else:
        with pytest.raises(Failure):
            require_promotable(build_transaction(**facts), Consent(allow_failed_run=True))


def test_core_changes_need_approval() -> None:
    require_approval("tx", (), Consent())
    require_approval("tx", ("torch 2 -> 3",), Consent(approve_core=True))
    with pytest.raises(Failure, match="torch 2 -> 3") as caught:
        require_approval("tx", ("torch 2 -> 3",), Consent())
    assert caught.value.code == "gov-core-approval"


def test_trial_is_outdated_when_truth_files_or_code_changed(tmp_path: Path) -> None:
    layout = GovLayout(tmp_path)
    layout.pyproject.write_text("one")
    layout.uv_lock.write_text("lock")
    tried = build_transaction(truth_sha256=transaction.hash_truth_files(layout))
    require_fresh(layout, tmp_path / "pack", tried)
    with pytest.raises(Failure, match="the node's code changed") as caught:
        require_fresh(layout, tmp_path / "pack", build_transaction(truth_sha256=tried.truth_sha256, node_tree="1" * 64))
    assert caught.value.code == "gov-candidate-stale"
    layout.uv_lock.write_text("other lock")
    with pytest.raises(Failure, match=r"pyproject\.toml or uv\.lock changed"):
        require_fresh(layout, tmp_path / "pack", tried)


def test_mismatched_torch_of_the_trial_counts_only_without_pins() -> None:
    freeze = ("torch==2.8.0+cu128", "torchaudio==2.8.0+cpu")
    with pytest.raises(Failure) as caught:
        check_torch(build_transaction(post_freeze=freeze))
    assert caught.value.code == "gov-torch-builds"
    check_torch(build_transaction(post_freeze=freeze, resolution_pins=("torchaudio==2.8.0",)))


def build_lock(**versions: str) -> str:
    packages = [
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "x" }}\n'
        for name, version in versions.items()
    ]
    return "version = 1\n\n" + "\n".join(packages)


@pytest.mark.parametrize(
    ("versions", "code"),
    [
        ({"numpy": "1.0", "extra": "1.0"}, None),
        ({"numpy": "2.0"}, "gov-core-approval"),
        ({}, "gov-core-approval"),
        ({"numpy": "1.0", "evil": "1.0"}, "gov-denied"),
        ({"numpy": "1.0", "torch": "2.8.0+cu128", "torchaudio": "2.8.0+cpu"}, "gov-torch-builds"),
    ],
)
def test_new_lock_is_checked(tmp_path: Path, versions: dict[str, str], code: str | None) -> None:
    layout = GovLayout(tmp_path)
    layout.uv_lock.write_text(build_lock(numpy="1.0"))
    inputs: dict[str, Any] = {
        "layout": layout,
        "policy": PolicyTable(core_packages=("numpy",), deny=("evil",), allow=()),
        "deny_list": build_deny_list(deny=["evil"]),
    }
    if code is None:
        check_lock(build_lock(**versions), build_transaction(), Consent(), **inputs)
        return
    with pytest.raises(Failure) as caught:
        check_lock(build_lock(**versions), build_transaction(), Consent(), **inputs)
    assert caught.value.code == code
