"""Long actions from button to result: the real command runs in the background while the page shows it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from comfywatchman.app.tasks.records import TaskSnapshot, TaskState
from comfywatchman.app.tasks.start import read_task
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.environments.rollback import read_operations
from comfywatchman.jobs.store.job_store import JobStore
from tests.governance.contexts import KeptSite
from tests.hosts import QUIET, Host
from tests.web.site import Site, build_site

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 60.0


def press(site: Site, path: str, form: dict[str, str]) -> TaskSnapshot:
    """Press a button, and wait until the task that it starts has ended."""
    response = site.client.post(path, data=form, follow_redirects=False)
    assert response.status_code == 303, response.text
    task_id = response.headers["location"].removeprefix("/tasks/")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        task = read_task(site.host.session, task_id)
        assert task is not None
        if not task.is_running:
            return task
        time.sleep(0.05)
    raise AssertionError(task)


def test_check_is_shown_after_the_page_was_closed(
    tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    for name, text in host.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    host.write("a.json")
    site = build_site(host.home, store)
    task = press(site, "/check", {"now": "1"})
    assert task.state is TaskState.DONE
    # Another server, as after a restart, still knows the task, and the report is there.
    later = build_site(host.home, store)
    page = later.guest.get(f"/tasks/{task.id}").text
    assert "Done" in page
    assert "--run-cycle" in page
    assert f"/tasks/{task.id}" in later.guest.get("/tasks").text
    assert "<bdi>a</bdi>" in later.guest.get("/workflows").text


def test_environment_goes_back_and_the_change_is_undone(
    tmp_path: Path, store: JobStore, kept_root: KeptSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kept_root.restore()
    for name, text in QUIET.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("COMFYWATCHMAN_GOVERNANCE__ROOT", str(root.root))
    monkeypatch.setenv("COMFYUI_ROOT", str(root.comfyui))
    site = build_site(tmp_path / "home", store)
    (first, *_others) = snapshot.read_all(root.layout)
    page = site.client.get("/environment").text
    assert f'value="{first.id}"' in page
    went_back = press(site, "/actions/environment/back", {"snapshot": first.id})
    assert (went_back.state, went_back.progress.message) == (TaskState.DONE, None)
    operation = read_operations(root.layout)[-1]
    assert operation.kind == "rollback"
    assert f'value="{operation.op_id}"' in site.client.get("/environment").text
    undone = press(site, "/actions/environment/undo", {"operation": operation.op_id})
    assert (undone.state, undone.progress.message) == (TaskState.DONE, None)
    assert read_operations(root.layout)[-1].kind == "undo"


def test_failure_of_a_task_is_shown_with_its_next_step(
    tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in QUIET.items():
        monkeypatch.setenv(name, text)
    site = build_site(tmp_path / "home", store)
    task = press(site, "/actions/environment/undo", {"operation": "unknown"})
    assert (task.state, task.progress.code) == (TaskState.FAILED, "gov-not-initialised")
    page = site.guest.get(f"/tasks/{task.id}").text
    assert "Failed" in page
    assert re.search(r"gov --home \S+ .*?init", page)
