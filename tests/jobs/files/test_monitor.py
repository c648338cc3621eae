from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.stop import StopEvent
from comfywatchman.jobs.files.intake import ScanResult, ScanStatus
from comfywatchman.jobs.files.monitor import WorkflowsFile, _Notices, run_monitor_loop
from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.records import JobSpec, Upserted
from tests.jobs.files.job_folder import JOB, NAME, JobFolder, RecordingStore

OTHER = NAME.replace("fox", "hen")


class StillClock(SystemClock):
    """A clock on which a scan takes no time."""

    def monotonic(self) -> float:
        return 0.0


class CountedStop:
    """An event that is set after so many pauses."""

    def __init__(self, pauses: int) -> None:
        self.pauses = pauses
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return self.pauses <= 0

    def wait(self, timeout: float, /) -> bool:
        self.pauses -= 1
        self.waits.append(timeout)
        return self.is_set()


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder.create(tmp_path)
    folder.settings = dataclasses.replace(folder.settings, poll_interval_seconds=0.05)
    return folder


@pytest.fixture
def without_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel give no watches, as when their number is used up."""

    def refuse(*_arguments: object, **_options: object) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    def wait_for_refusal(notices: _Notices) -> _Notices:
        notices._thread.start()
        notices._thread.join()
        return notices

    monkeypatch.setattr("watchfiles.watch", refuse)
    # Until the thread knows, a pause waits for its notice instead of the event.
    monkeypatch.setattr(_Notices, "__enter__", wait_for_refusal)


@pytest.mark.usefixtures("without_notices")
def test_loop_scans_and_stops(folder: JobFolder) -> None:
    folder.write()
    store, results = RecordingStore(), list[ScanResult]()
    run_monitor_loop(
        folder.settings, folder.workflows, store, CountedStop(2), report=results.append, clock=StillClock()
    )
    assert list(store.specs) == [NAME]
    assert results[-1].status is ScanStatus.ACCEPTED


@pytest.mark.usefixtures("without_notices")
def test_loop_that_is_stopped_before_does_nothing(folder: JobFolder) -> None:
    folder.write()
    store = RecordingStore()
    run_monitor_loop(folder.settings, folder.workflows, store, CountedStop(0))
    assert store.specs == {}


@pytest.mark.usefixtures("without_notices")
def test_loop_creates_the_folders(folder: JobFolder) -> None:
    settings = dataclasses.replace(folder.settings, processing=folder.root / "new")
    run_monitor_loop(settings, folder.workflows, RecordingStore(), CountedStop(1))
    assert {path.name for path in (folder.root / "new").iterdir()} == {"image", "video", "speech", "audio", "3d"}


@pytest.mark.usefixtures("without_notices")
def test_loop_goes_on_while_the_database_is_away(folder: JobFolder) -> None:
    class AwayStore(RecordingStore):
        attempts = 0

        def upsert(self, spec: JobSpec) -> Upserted:
            self.attempts += 1
            if self.attempts < 3:
                raise Failure("state-unwritable", "The database is away.")
            return super().upsert(spec)

    folder.write()
    store, results = AwayStore(), list[ScanResult]()
    run_monitor_loop(
        folder.settings, folder.workflows, store, CountedStop(6), report=results.append, clock=StillClock()
    )
    assert list(store.specs) == [NAME]
    reasons = [result.reason for result in results if result.status is ScanStatus.WAITING]
    assert reasons.count("The database is away.") == 1


@pytest.mark.usefixtures("without_notices")
def test_invalid_workflows_are_reported_and_read_again(folder: JobFolder) -> None:
    good = folder.settings.workflows.read_text("utf-8")
    folder.settings.workflows.write_text("portrait: 5\n", "utf-8")
    folder.write()
    store, results = RecordingStore(), list[ScanResult]()

    def correct(result: ScanResult) -> None:
        results.append(result)
        folder.settings.workflows.write_text(good, "utf-8")

    run_monitor_loop(folder.settings, None, store, CountedStop(4), report=correct, clock=StillClock())
    assert (results[0].path, results[0].field) == (str(folder.settings.workflows), "portrait")
    assert list(store.specs) == [NAME]


def test_workflows_are_read_again_when_they_change(folder: JobFolder) -> None:
    source = WorkflowsFile(folder.settings.workflows)
    assert source.load() is source.load()
    folder.settings.workflows.write_text("", "utf-8")
    assert source.load() == {}
    folder.settings.workflows.unlink()
    with pytest.raises(JobFileError, match="It does not exist"):
        source.load()


@contextmanager
def running(folder: JobFolder, store: RecordingStore, report: Callable[[ScanResult], object]) -> Iterator[None]:
    with StopEvent() as stop:
        thread = threading.Thread(
            target=run_monitor_loop, args=(folder.settings, None, store, stop), kwargs={"report": report}
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.slow
def test_files_are_found_while_the_loop_runs(folder: JobFolder) -> None:
    found = threading.Semaphore(0)

    def count(result: ScanResult) -> None:
        if result.status is ScanStatus.ACCEPTED:
            found.release()

    store = RecordingStore()
    with running(folder, store, count):
        for name in (NAME, OTHER):
            # As careful writers do: written beside its place, then renamed.
            part = folder.write(name=name + ".part")
            part.rename(part.with_name(name))
            assert found.acquire(timeout=60)
    assert sorted(store.specs) == sorted([NAME, OTHER])


@pytest.mark.slow
def test_notice_wakes_the_loop_before_the_poll_interval(folder: JobFolder) -> None:
    folder.settings = dataclasses.replace(folder.settings, poll_interval_seconds=3600)
    scanned = threading.Semaphore(0)
    first = folder.write("a: [")
    results: list[ScanResult] = []

    def note(result: ScanResult) -> None:
        results.append(result)
        scanned.release()

    with running(folder, RecordingStore(), note):
        assert scanned.acquire(timeout=60)
        # A second file wakes the loop; the first has then stayed the same since the scan before.
        folder.write(JOB, OTHER)
        assert scanned.acquire(timeout=60)
    assert str(first) in {result.path for result in results}


class SlowClock(SystemClock):
    """A clock on which each scan takes two seconds."""

    def __init__(self) -> None:
        self.readings = 0

    def monotonic(self) -> float:
        self.readings += 1
        return self.readings * 2.0


@pytest.mark.usefixtures("without_notices")
def test_pause_grows_with_the_scan(folder: JobFolder) -> None:
    stop = CountedStop(2)
    run_monitor_loop(folder.settings, {}, RecordingStore(), stop, clock=SlowClock())
    # Ten times the two seconds, less the four that have passed.
    assert stop.waits == [0.05, 16.0]
