"""A governed root whose checks are run, for the tests of single checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.environments import access, generation
from comfywatchman.governance.store.records import Transaction, TransactionStatus
from tests.governance.contexts import Site

NO_GPU = GpuDriver(present=False)


def run_checks_on(site: Site, *, budget_seconds: float | None = 5.0) -> Mapping[str, CheckResult]:
    context = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    return {one.name: one for one in run_checks(context, driver=NO_GPU, budget_seconds=budget_seconds)}


def find_environment(site: Site) -> Path:
    key = generation.current_key(site.layout)
    assert key is not None
    return generation.environment_dir(site.layout, key)


def find_site_packages(site: Site) -> Path:
    (found,) = find_environment(site).glob("lib/python3*/site-packages")
    return found


def write_record(site: Site, txid: str, status: TransactionStatus) -> None:
    write_atomic(
        site.layout.transactions / f"{txid}.json",
        to_json(Transaction(txid=txid, node_id=f"node{txid[-1]}", started_at="2026-11-20T12:00:00Z", status=status)),
    )
