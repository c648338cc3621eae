from __future__ import annotations

import shutil

import pytest

from comfywatchman.governance.checks.check_cache import CheckCache
from comfywatchman.governance.checks.context import CheckBudget, CheckContext
from comfywatchman.governance.environments import access, generation
from comfywatchman.governance.store.records import NodeRegistry
from tests.fakes import FakeClock
from tests.governance.checks.checked_site import NO_GPU, find_environment, write_record
from tests.governance.contexts import Site


def build_context(site: Site) -> CheckContext:
    gov = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    return CheckContext(gov, NO_GPU, CheckCache.read(gov.layout.check_cache), CheckBudget.start(site.clock, 5.0))


@pytest.mark.parametrize(
    ("seconds", "states"), [(5.0, [True, False]), (None, [True, True])], ids=["five seconds", "unlimited"]
)
def test_budget_ends_at_its_deadline(seconds: float | None, states: list[bool]) -> None:
    clock = FakeClock()
    budget = CheckBudget.start(clock, seconds)
    clock.advance(awake=4.9, asleep=3600)
    before = budget.has_time
    clock.advance(awake=0.1)
    assert [before, budget.has_time] == states
    assert budget.is_unlimited == (seconds is None)


@pytest.mark.slow
def test_production_has_its_packages(site: Site) -> None:
    production = build_context(site).production
    assert production is not None
    assert production.key == generation.current_key(site.layout)
    assert production.folder == find_environment(site)
    assert production.mark is not None
    assert {package.name for package in production.installed} == {"corelet"}
    assert all(folder.suffix == ".dist-info" for folder in production.installed.values())


def test_facts_are_read_once(site: Site) -> None:
    context = build_context(site)
    assert context.production is context.production
    before = context.transactions
    write_record(site, "20261120T120000Z-1", "failed")
    assert context.transactions is before
    assert [facts.txid for facts in build_context(site).transactions] == ["20261120T120000Z-1"]


def test_interrupted_build_has_no_packages(site: Site) -> None:
    (find_environment(site) / generation.MARK).unlink()
    production = build_context(site).production
    assert production is not None
    assert (production.mark, production.installed) == (None, {})


def test_dangling_link_is_no_production(site: Site) -> None:
    shutil.rmtree(find_environment(site))
    assert build_context(site).production is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_damaged_registry_counts_as_empty(site: Site, content: bytes) -> None:
    site.layout.plugins.write_bytes(content)
    assert build_context(site).registry == NodeRegistry()
    assert site.layout.plugins.read_bytes() == content
