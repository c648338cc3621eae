from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copyfile

import pytest

from comfywatchman.app.pages import tasks
from comfywatchman.app.session import Session
from comfywatchman.app.tasks.records import TaskKind, TaskOrder, TaskProgress, TaskSnapshot, TaskState
from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.web.site import Site, build_site


@pytest.fixture(scope="session")
def empty_queue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database of jobs without jobs, to copy."""
    path = tmp_path_factory.mktemp("web") / "jobs.db"
    with open_store(f"sqlite:///{path}"):
        return path


@pytest.fixture
def store(tmp_path: Path, empty_queue: Path) -> Iterator[JobStore]:
    """Return an open queue without jobs."""
    copyfile(empty_queue, tmp_path / "jobs.db")
    with open_store(f"sqlite:///{tmp_path / 'jobs.db'}") as opened:
        yield opened


@pytest.fixture
def site(tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return the page of a host without ComfyUI, and a browser that has signed in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return build_site(tmp_path / "home", store)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the arguments of the background tasks, which are not run."""
    calls: list[list[str]] = []

    def start_task(_session: Session, kind: TaskKind, arguments: Sequence[str], *, subject: str = "") -> TaskSnapshot:
        calls.append(list(arguments))
        order = TaskOrder(kind, "", "2026-12-01T00:00:00Z", subject)
        return TaskSnapshot("id", order, TaskProgress(), TaskState.RUNNING, Path("log"))

    monkeypatch.setattr(tasks, "start_task", start_task)
    return calls
