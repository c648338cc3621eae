"""Odd values in the state files of supervisor, governance, web page and versions: no traceback, and nothing lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.supervisor_state import has_job_ended_comfyui, read_supervisor
from comfywatchman.app.tasks.records import TaskOrder, TaskProgress
from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance.checks.check_cache import CheckCacheFile
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments.access import read_context
from comfywatchman.governance.store import conflict_records, records
from comfywatchman.governance.store.governed import read_governed
from comfywatchman.governance.trial.loader_inputs import read_observed_loaders
from comfywatchman.governance.trial.production_start import ProductionStart
from comfywatchman.jobs.store.job_store import open_store
from comfywatchman.supervisor import mailbox, process_files
from comfywatchman.supervisor.incidents import Incident
from comfywatchman.supervisor.memory_file import PublishedMemory
from comfywatchman.supervisor.process.child import ProcessRecord, read_process_record
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus
from comfywatchman.versions.home import HomeMarker, VersionHome, read_home_marker
from comfywatchman.versions.lockfile import SCHEMA, VersionLock, read_lock
from comfywatchman.versions.place import MARKER_NAME, VersionMarker, read_marker
from comfywatchman.versions.references import RECORDS_NAME, OutputRecords, read_records
from comfywatchman.web.security.web_secrets import OneTimeCode, WebSecrets
from tests.cli.gov.calls import TXID, Gov
from tests.governance.contexts import KeptSite
from tests.mutation import repeatable
from tests.odd_values import ODD_VALUES, Place, fill_shape, list_leaves, replace_value
from tests.supervisor.workspaces import Workspace
from tests.web.site import build_site

CLOCK = SystemClock()
OPERATION = "20261120T120000Z-0000000b"
INCIDENT = "20261120T140000Z-crash"
TASK = "20261120T140000Z-cycle"

Reader = Callable[[], object]
Case = tuple["StateFile", Place, object]


@dataclass(frozen=True)
class StateFile:
    """A state file.

    Attributes:
        path: Its place.
        document: Content in which every field is set.
        readers: Everything that reads it.
        is_used_up: Whether reading changes it.
    """

    path: Path
    document: Any
    readers: Sequence[Reader]
    is_used_up: bool = False

    def check(self, place: Place, value: object) -> None:
        """Set one value, read the file everywhere, and expect that it is used or left as it is."""
        content = replace_value(self.document, place, value)
        saved = self.path.read_bytes() if self.path.exists() else None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(content)
        try:
            for read in self.readers:
                try:
                    read()
                except Failure:
                    continue
            spare = self.path.with_name(f"{self.path.name}.damaged-1")
            assert self.is_used_up or spare.exists() or self.path.read_bytes() == content, "the file was changed"
            assert not spare.exists() or spare.read_bytes() == content, "the file set aside was changed"
        finally:
            self.path.with_name(f"{self.path.name}.damaged-1").unlink(missing_ok=True)
            if saved is None:
                self.path.unlink(missing_ok=True)
            else:
                self.path.write_bytes(saved)


def fill(shape: type[msgspec.Struct], **values: Any) -> Any:
    return {**fill_shape(shape), **values}


@dataclass(frozen=True)
class PageReader:
    """Asks the web page of a host."""

    client: httpx.Client

    def get(self, *paths: str) -> Reader:
        """Return a reader that opens pages, none of which may fail."""

        def read() -> None:
            for path in paths:
                response = self.client.get(path)
                assert response.status_code < 500, f"{path}: {response.text[-300:]}"
                assert "\x1b" not in response.text

        return read


def list_supervisor_files(metadata: Path, session: Session, page: PageReader) -> list[StateFile]:
    """Return the files of a workspace."""
    switch = [lambda: mailbox.read_switch_request(metadata), page.get("/server")]
    start = [lambda: process_files.read_startup_state(metadata)]
    command = [lambda: mailbox.discard_old_command(metadata, limit_seconds=1e300), page.get("/server")]
    heartbeat = [lambda: process_files.find_orchestrator(metadata)]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    shown = page.get("/server", f"/server/incidents/{INCIDENT}")
    incidents = [lambda: has_job_ended_comfyui(session, begin), shown]
    supervisor = [lambda: read_supervisor(session), page.get("/", "/server")]
    status = fill(SupervisorStatus, boot_id=CLOCK.boot_id(), looked_at_seconds=CLOCK.boottime())
    incident = metadata / "incidents" / INCIDENT / "incident.json"
    return [
        StateFile(metadata / ".switch_request.json", fill(mailbox.SwitchRequest), switch),
        StateFile(metadata / ".switch_status.json", fill(mailbox.SwitchStatus), [page.get("/", "/server")]),
        # A command of the future is deleted as one that is too old.
        StateFile(metadata / ".cmd", fill(mailbox.SupervisorCommand), command, is_used_up=True),
        StateFile(metadata / ".orchestrator.heartbeat", fill(process_files.Heartbeat), heartbeat),
        StateFile(metadata / ".startup_state.json", fill(process_files.StartupState), start),
        StateFile(metadata / "comfyui_process.json", fill(ProcessRecord), [lambda: read_process_record(metadata)]),
        StateFile(metadata / "memory.json", fill(PublishedMemory), [page.get("/server")]),
        StateFile(metadata / "supervisor_status.json", status, supervisor),
        StateFile(incident, fill(Incident, name=INCIDENT), incidents),
    ]


def list_page_files(home: Path, secrets: WebSecrets, page: PageReader) -> list[StateFile]:
    """Return the files of background tasks and of signing in."""
    tasks = home / "state" / "tasks"
    order = StateFile(tasks / f"{TASK}.task.json", fill(TaskOrder), [page.get("/", f"/tasks/{TASK}")])
    code = [lambda: secrets.use_code("AAAA-BBBB", CLOCK.now())]
    progress = [page.get("/", f"/tasks/{TASK}-2")]
    other = tasks / f"{TASK}-2.task.json"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text(json.dumps(order.document))
    return [
        order,
        StateFile(tasks / f"{TASK}-2.progress.json", fill(TaskProgress), progress),
        StateFile(secrets.code_file, fill(OneTimeCode, tries_left=5), code, is_used_up=True),
    ]


def list_version_files(folder: Path) -> list[StateFile]:
    """Return the files of versions."""
    home = VersionHome(folder / "version-home")
    outputs = folder / "outputs"
    lock = folder / "comfy-a.lock.json"
    return [
        StateFile(lock, fill(VersionLock, schema=SCHEMA, tag="a"), [lambda: read_lock(lock)]),
        StateFile(home.marker, fill(HomeMarker), [lambda: read_home_marker(home)]),
        StateFile(folder / "clone" / MARKER_NAME, fill(VersionMarker), [lambda: read_marker(folder / "clone")]),
        StateFile(outputs / RECORDS_NAME, fill(OutputRecords), [lambda: read_records(outputs)]),
    ]


def list_governance_files(gov: Gov) -> list[StateFile]:
    """Return the files of a governed root."""
    layout = gov.site.layout

    def call(*arguments: str) -> Reader:
        def read() -> None:
            result = gov(*arguments)
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            assert "\x1b" not in result.output

        return read

    def check() -> None:
        context = read_context(gov.site.root, comfyui=gov.site.comfyui, clock=CLOCK, network={})
        run_checks(context, driver=GpuDriver(present=False), budget_seconds=60.0)

    gov.record("needs_resolution")
    key = generation.current_key(layout)
    assert key is not None
    (snapshot,) = layout.snapshots.iterdir()
    transaction = fill(records.Transaction, txid=TXID, node_id="depth")
    completed = {**transaction, "status": "completed"}
    trial = [call("status"), call("tx", "list"), call("tx", "inspect", TXID), lambda: read_observed_loaders(layout)]
    kept = [call("snapshot", "list"), call("snapshot", "inspect", snapshot.name)]
    changes = [call("op", "list"), call("op", "inspect", OPERATION)]
    conflict = [call("resolve", TXID), call("tx", "inspect", TXID)]
    governed = [call("status"), lambda: read_governed(layout)]
    operation = layout.operations / f"{OPERATION}.json"
    mark = layout.generations / key / ".gov-complete"
    return [
        StateFile(layout.transactions / "20261120T130000Z-0000000c.json", transaction, trial),
        StateFile(layout.transactions / f"{TXID}.json", completed, [call("tx", "promote", TXID)], is_used_up=True),
        StateFile(layout.conflicts / f"{TXID}.json", fill(conflict_records.ConflictReport, txid=TXID), conflict),
        StateFile(layout.plugins, fill(records.NodeRegistry), [call("status"), call("node", "list"), check]),
        StateFile(snapshot / "meta.json", json.loads((snapshot / "meta.json").read_bytes()), kept),
        StateFile(layout.snapshots_index, json.loads(layout.snapshots_index.read_bytes()), [*kept, check]),
        StateFile(operation, fill(records.Operation, op_id=OPERATION), [*changes, check]),
        StateFile(mark, json.loads(mark.read_bytes()), [call("status"), check]),
        StateFile(layout.comfyui, json.loads(layout.comfyui.read_bytes()), governed),
        StateFile(layout.check_cache, fill(CheckCacheFile, generation=key), [check], is_used_up=True),
        StateFile(layout.start, fill(ProductionStart), [check]),
    ]


@pytest.fixture
def files(tmp_path: Path, kept_root: KeptSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StateFile]]:
    """Return all files, below one folder and one governed root."""
    gov = Gov(kept_root.restore())
    workspace = Workspace(tmp_path / "ws", "main", "other")
    monkeypatch.setenv("COMFYWATCHMAN_SUPERVISOR__WORKSPACE", str(workspace.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    session = Session(home, None, comfyui_option=workspace.comfyui("main"))
    supervised = hold_lock(workspace.metadata / LOCK_NAME, command="supervise run", clock=CLOCK)
    with open_store(f"sqlite:///{tmp_path / 'jobs.db'}") as store, supervised:
        site = build_site(home, store, comfyui=workspace.comfyui("main"))
        page = PageReader(site.client)
        yield [
            *list_supervisor_files(workspace.metadata, session, page),
            *list_page_files(home, site.secrets, page),
            *list_version_files(tmp_path),
            *list_governance_files(gov),
        ]


def check_values(files: list[StateFile], choose: Callable[[list[Case]], list[Case]]) -> int:
    """Check chosen places and values; return how many."""
    cases = [(file, place, value) for file in files for place in list_leaves(file.document) for value in ODD_VALUES]
    chosen = choose(cases)
    failures = []
    for file, place, value in chosen:
        try:
            file.check(place, value)
        except Exception as error:  # noqa: BLE001 - all failures are listed together
            failures.append(f"{file.path.name} {place} = {value!r}: {type(error).__name__}: {error}"[:400])
    assert not failures, f"{len(failures)} of {len(chosen)} failed:\n" + "\n".join(failures[:100])
    return len(chosen)


@pytest.mark.slow
def test_odd_values_in_other_state_files_sample(files: list[StateFile]) -> None:
    rng = repeatable(20261201)
    check_values(files, lambda cases: rng.sample(cases, 60))


@pytest.mark.torture
def test_every_odd_value_in_other_state_files(files: list[StateFile]) -> None:
    count = check_values(files, lambda cases: cases)
    print(f"{count} odd values in other state files: 0 tracebacks, 0 lost", file=sys.stderr)  # noqa: T201 - a figure
