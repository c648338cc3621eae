from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.tables import SCHEMA_VERSION, DatabaseNow, jobs, metadata
from tests.jobs.jobs import add_jobs, lease, start_worker


def test_migrations_create_the_tables_of_the_code(store: JobStore) -> None:
    def compare(connection: sa.Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert store.database.read(compare) == []
    assert not store.is_newer_than_agent()
    assert SCHEMA_VERSION >= 1


def test_clock_of_the_database_is_in_seconds(store: JobStore) -> None:
    now = store.database.read(lambda connection: connection.execute(sa.select(DatabaseNow())).scalar_one())
    assert abs(now - datetime.now(UTC).timestamp()) < 60


def test_job_under_way_and_only_it_has_an_end_of_lease(store: JobStore) -> None:
    add_jobs(store, [1])
    wrong: list[dict[str, object]] = [{"lease_expires_at": 1.0}, {"status": "processing"}, {"status": "odd"}]
    for values in wrong:
        assert _is_refused(store, values), values


@pytest.mark.slow
def test_no_list_reads_jobs_that_it_does_not_show(store: JobStore) -> None:
    add_jobs(store, range(3))
    lease(store, start_worker(store))

    def read_all() -> None:
        store.stats()
        store.list_hosts()
        store.explain_waiting()
        store.list_jobs()
        for status in JobStatus:
            store.list_jobs(status)

    statements = [item for item in _record_statements(store, read_all) if "FROM jobs" in item[0]]
    assert len(statements) > 10
    for text, values in statements:
        plan = _explain(store, text, values)
        assert "ix_jobs_" in plan, (text, plan)
        assert "AUTOMATIC" not in plan


def _is_refused(store: JobStore, values: dict[str, object]) -> bool:
    try:
        store.database.write(lambda connection: connection.execute(jobs.update().values(**values)))
    except sa.exc.IntegrityError:
        return True
    return False


def test_every_hot_statement_uses_its_index(store: JobStore) -> None:
    add_jobs(store, range(3))
    worker = start_worker(store)
    statements: list[tuple[str, object]] = []
    for ready in (None, frozenset({"empty-image"})):
        statements += _record_statements(
            store,
            lambda: lease(store, worker, ready_workflows=ready),  # noqa: B023 - called at once
        )
    statements += _record_statements(store, store.recover_orphans)
    selects = [(text, values) for text, values in statements if text.startswith("SELECT jobs.")]
    assert len(selects) == 3
    plans = [_explain(store, text, values) for text, values in selects]
    assert re.search(r"ix_jobs_pending\b", plans[0])
    assert re.search(r"ix_jobs_pending\b", plans[1])
    assert "ix_jobs_processing" in plans[2]
    assert not any("B-TREE" in plan or "Sort" in plan for plan in plans[:2])


def test_variants_are_found_through_their_index(store: JobStore) -> None:
    add_jobs(store, [1], readiness_key="sdxl with a")
    ((text, values),) = [
        pair for pair in _record_statements(store, store.list_variants) if pair[0].startswith("WITH RECURSIVE")
    ]
    plan = _explain(store, text, values)
    assert "ix_jobs_pending_readiness" in plan
    assert not re.search(r"SCAN jobs\n|Seq Scan on jobs", plan)


def test_times_of_the_chart_are_read_from_the_end_of_an_index(store: JobStore) -> None:
    add_jobs(store, [1])
    statements = _record_statements(store, lambda: store.read_queue_times(datetime.now(UTC) - timedelta(hours=1)))
    plans = [_explain(store, text, values) for text, values in statements if "end_time" in text]
    assert len(plans) == 4
    for status, plan in zip(("done", "failed", "cancelled", "quarantined"), plans, strict=True):
        assert f"ix_jobs_{status}_ended" in plan
        assert "B-TREE" not in plan
        assert "Sort" not in plan


def test_statuses_are_part_of_the_statements(store: JobStore) -> None:
    add_jobs(store, [1])
    worker = start_worker(store)
    statements = _record_statements(store, lambda: lease(store, worker))
    statements += _record_statements(store, store.recover_orphans)
    compared = [text for text, _ in statements if "jobs.status = " in text]
    assert len(compared) >= 3
    for text in compared:
        after = text.split("jobs.status = ")[1]
        assert after.startswith(("'pending'", "'processing'")), text


def _record_statements(store: JobStore, action: Callable[[], object]) -> list[tuple[str, object]]:
    recorded: list[tuple[str, object]] = []

    def record(_connection: object, _cursor: object, text: str, values: object, *_: object) -> None:
        recorded.append((text, values))

    engine = store.database.engine
    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        action()
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)
    return recorded


def _explain(store: JobStore, text: str, values: object) -> str:
    def explain(connection: sa.Connection) -> str:
        if not store.database.is_sqlite:
            # With three rows a sequential scan is cheaper than any index.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        prefix = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else "EXPLAIN "
        rows = connection.exec_driver_sql(prefix + text, values)  # type: ignore[arg-type]
        return "\n".join(str(row[-1]) for row in rows) + "\n"

    return store.database.read(explain)


def test_every_status_is_allowed_by_the_tables() -> None:
    (constraint,) = [item for item in jobs.constraints if item.name == "ck_jobs_status"]
    text = str(constraint.sqltext)  # type: ignore[attr-defined]
    assert all(f"'{status.value}'" in text for status in JobStatus)
