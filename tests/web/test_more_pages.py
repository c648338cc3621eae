"""The pages of workflows, models, the environment, the server, hosts and settings, asked through ASGI."""

from __future__ import annotations

import html
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from comfywatchman.app.pages import live_status
from comfywatchman.app.pages.attention import list_needed_actions
from comfywatchman.app.pages.workflow_rows import build_workflow_id
from comfywatchman.app.tasks.records import TaskKind, TaskOrder, TaskProgress, TaskSnapshot, TaskState
from comfywatchman.base.clock import SystemClock, format_utc
from comfywatchman.base.lock import hold_lock
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.supervisor.incidents import Incident, MemorySample, record_incident
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, take_command
from comfywatchman.supervisor.memory_file import write_memory
from comfywatchman.supervisor.metadata import create_metadata_folder
from comfywatchman.supervisor.process.child import LOG_NAME
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, write_status
from tests.hosts import Host
from tests.jobs.jobs import add_jobs
from tests.supervisor.workspaces import Workspace
from tests.web.commands import list_commands, parse_command
from tests.web.site import Site, build_site

pytestmark = pytest.mark.slow

PAGES = ("workflows", "models", "environment", "server", "hosts", "settings")
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x07" + "n" * 110


@pytest.fixture(scope="module")
def checked_host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Return a host with a workflow of each verdict but one, after a check; tests only read it."""
    host = Host(tmp_path_factory.mktemp("checked"))
    host.write("ready.json")
    host.write("sub/missing.json", checkpoint="absent.safetensors")
    host.write("broken.json", b"{")
    host.write(f"{HOSTILE}.json", checkpoint=f"{HOSTILE}.safetensors")
    host.status()
    return host


@pytest.fixture
def host(checked_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return the checked host, with its settings as environment variables."""
    for name, text in checked_host.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return checked_host


@pytest.fixture
def checked(host: Host, store: JobStore) -> Site:
    """Return the page of the checked host."""
    return build_site(host.home, store)


@pytest.mark.parametrize("path", PAGES)
def test_page_of_an_empty_host_says_the_next_step(site: Site, path: str) -> None:
    page = site.guest.get(f"/{path}")
    assert page.status_code == 200, page.text
    assert f'aria-current="page">{path.capitalize()}</a>' in page.text


@pytest.mark.parametrize("path", PAGES)
def test_page_of_a_checked_host(checked: Site, path: str) -> None:
    page = checked.client.get(f"/{path}")
    assert page.status_code == 200, page.text
    assert "<img src=x" not in page.text
    assert "\u202e" not in page.text
    assert "\x07" not in page.text


def find_id(site: Site, name: str) -> str:
    report = site.host.read_master_status()
    assert report is not None
    (path,) = (entry.path for entry in report.workflows if entry.path.endswith(f"/{name}"))
    return build_workflow_id(path)


def test_commands_of_all_pages_exist(checked: Site) -> None:
    paths = [*PAGES, "tasks", f"workflows/{find_id(checked, 'missing.json')}"]
    shown = [command for path in paths for command in list_commands(checked.client.get(f"/{path}").text)]
    assert len(shown) >= 6
    for command in shown:
        parse_command(command)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["broken", "missing", "ready"]),
        ("status=ready", ["ready"]),
        ("status=missing&q=absent", ["missing"]),
        ("q=absent+nothing", []),
        ("page=999", ["broken", "missing", "ready"]),
        ("page=x&status=y", ["broken", "missing", "ready"]),
    ],
)
def test_workflows_are_filtered_and_searched(checked: Site, query: str, names: list[str]) -> None:
    page = checked.guest.get(f"/workflows?{query}").text
    assert [name for name in ("broken", "missing", "ready") if f"<bdi>{name}</bdi>" in page] == names


def test_workflow_page_shows_what_is_missing(checked: Site) -> None:
    page = checked.guest.get(f"/workflows/{find_id(checked, 'missing.json')}").text
    assert "1 of 1 models is missing." in page
    assert "models/checkpoints/absent.safetensors" in page
    assert "CheckpointLoaderSimple, node 1" in page
    assert checked.guest.get("/workflows/0000000000000000").status_code == 404
    assert "Nothing: 1 model" in checked.guest.get(f"/workflows/{find_id(checked, 'ready.json')}").text


def break_queue(store: JobStore) -> None:
    store.close()
    database = Path(str(store.database.engine.url.database))
    database.unlink()
    database.mkdir()


def test_unreadable_queue_hides_no_other_action(checked: Site) -> None:
    now = checked.host.session.clock.now()
    before = list_needed_actions(checked.host, now)
    break_queue(checked.store)
    actions = list_needed_actions(checked.host, now)
    assert "The queue cannot be read" in [action.title for action in actions]
    assert {action.title for action in before} < {action.title for action in actions}
    assert len(before) > 0


@pytest.mark.parametrize("content", [b"{", None], ids=["damaged", "about another ComfyUI"])
def test_report_that_cannot_be_used_is_named(
    host: Host, tmp_path: Path, store: JobStore, content: bytes | None
) -> None:
    home = tmp_path / "copy"
    place = home / host.layout.status_json.relative_to(host.home)
    place.parent.mkdir(parents=True)
    known = host.report()["comfyui"]["id"].encode()
    place.write_bytes(content or host.layout.status_json.read_bytes().replace(known, b"0" * len(known)))
    page = build_site(home, store).guest.get("/").text
    assert "The last report" in page
    assert "cannot be read" in page if content else "is about another ComfyUI" in page
    assert "Nothing has been checked yet" not in page
    assert "Three steps" not in page


def test_model_page_shows_users(checked: Site) -> None:
    page = checked.guest.get("/models").text
    assert f'href="/workflows/{find_id(checked, "ready.json")}"' in page
    assert "sample_model.safetensors" not in checked.guest.get("/models?filter=unused").text


def test_buttons_start_the_commands(checked: Site, started: list[list[str]]) -> None:
    """Press each button that starts a task; names that look like options stay names."""
    forms = [
        ("actions/models/search", {"model": "a.safetensors"}),
        ("actions/models/download", {"model": "-x.safetensors", "unproved": "yes"}),
        ("actions/models/duplicates", {"now": "1"}),
        ("actions/environment/check", {"now": "1"}),
        ("actions/environment/promote", {"transaction": "T", "core": "yes", "reason": "--root=/"}),
        ("actions/environment/abort", {"transaction": "T"}),
        ("actions/environment/resolve", {"transaction": "T"}),
        ("actions/environment/back", {"snapshot": "--root"}),
        ("actions/environment/undo", {"operation": "O"}),
    ]
    for path, form in forms:
        response = checked.client.post(f"/{path}", data=form, follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (303, "/tasks/id"), path
    assert started == [
        ["resolve", "--refresh", "a.safetensors"],
        ["download", "--yes", "--", "-x.safetensors"],
        ["duplicates", "--hash"],
        ["env", "check"],
        ["env", "tx", "promote", "--approve-core", "--reason=--root=/", "T"],
        ["env", "tx", "abort", "T"],
        ["env", "resolve", "T"],
        ["env", "rollback", "--", "--root"],
        ["env", "undo", "O"],
    ]
    for arguments in started:
        parse_command(shlex.join(["comfywatchman", *arguments]))


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("actions/models/search", {"model": ""}),
        ("actions/models/download", {"model": "a\0b"}),
        ("actions/environment/promote", {"transaction": "T", "core": "yes", "reason": " "}),
        ("actions/plan/approve", {"plan": "old.json"}),
    ],
)
def test_incomplete_forms_start_nothing(
    checked: Site, started: list[list[str]], path: str, form: dict[str, str]
) -> None:
    assert checked.client.post(f"/{path}", data=form).status_code == 422
    assert started == []


def test_guest_can_change_nothing(checked: Site, started: list[list[str]]) -> None:
    assert checked.guest.post("/actions/models/search", data={"model": "a"}, follow_redirects=False).status_code in {
        303,
        401,
    }
    assert started == []


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Return a workspace whose supervisor is this process, with an incident and a log."""
    clock = SystemClock()
    workspace = Workspace(tmp_path / "ws", "main", "other")
    monkeypatch.setenv("COMFYWATCHMAN_SUPERVISOR__WORKSPACE", str(workspace.root))
    create_metadata_folder(workspace.metadata)
    log = workspace.metadata / LOG_NAME
    log.write_text("got prompt\n<script>alert(1)</script>\n")
    samples = (MemorySample("2026-12-01T00:00:00Z", 5, 7), MemorySample("2026-12-01T00:00:10Z", 9, 8))
    write_memory(workspace.metadata, samples)
    incident = Incident("20261201T000000Z-crash", "2026-12-01T00:00:00Z", "crash", "main", "", "It ended.")
    record_incident(workspace.metadata, incident, log, max_incidents=5)
    now = format_utc(clock.now())
    with hold_lock(workspace.metadata / LOCK_NAME, command="supervise run", clock=clock):
        status = SupervisorStatus(SupervisorState.READY, now, now, 8188, os.getpid(), boot_id=clock.boot_id())
        write_status(workspace.metadata, status)
        yield workspace


@pytest.mark.usefixtures("supervised")
def test_server_page_shows_memory_incidents_and_log(checked: Site) -> None:
    site = checked
    page = site.client.get("/server").text
    assert "between 5 B and 9 B" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "got prompt" not in site.client.get("/server?log=SCRIPT").text
    incident = site.client.get("/server/incidents/20261201T000000Z-crash")
    assert "It ended." in incident.text
    assert site.client.get("/server/incidents/none").status_code == 404
    for command in [*list_commands(page), *list_commands(incident.text)]:
        parse_command(command)


@pytest.mark.usefixtures("supervised")
def test_every_part_that_refreshes_itself_can_be_fetched(checked: Site) -> None:
    (job,) = add_jobs(checked.store, [1])
    parts = set()
    for path in ["", "queue", f"queue/{job}", *PAGES, "tasks", f"workflows/{find_id(checked, 'missing.json')}"]:
        page = checked.client.get(f"/{path}")
        assert page.status_code == 200, path
        for address in re.findall(r'hx-get="([^"]+)"', page.text):
            assert checked.client.get(html.unescape(address)).status_code == 200, address
            parts.add(address.rpartition("fragment=")[2])
    assert {"state", "status_line", "fresh", "running", "list"} <= parts


class OrderCase(NamedTuple):
    path: str
    form: dict[str, str]
    command: CommandName
    policy: PromptPolicy
    target: str | None = None


@pytest.mark.parametrize(
    "case",
    [
        OrderCase("restart", {"prompts": "wait"}, CommandName.RESTART, PromptPolicy.WAIT),
        OrderCase("restart", {"prompts": "end"}, CommandName.RESTART, PromptPolicy.END),
        OrderCase("stop", {"prompts": "wait"}, CommandName.SHUTDOWN, PromptPolicy.WAIT),
        OrderCase(
            "switch", {"prompts": "wait", "environment": "other"}, CommandName.SWITCH, PromptPolicy.WAIT, "other"
        ),
    ],
)
def test_server_is_ordered(supervised: Workspace, checked: Site, case: OrderCase) -> None:
    page = checked.client.post(f"/actions/server/{case.path}", data=case.form)
    assert "The supervisor was asked to" in page.text
    order = take_command(supervised.metadata)
    assert order is not None
    assert (order.command, order.prompts, order.target_env) == (case.command, case.policy, case.target)


def test_hosts_page_shows_only_differences(site: Site) -> None:
    for name, is_ready in (("one", True), ("two", False)):
        site.store.register_worker(name, version="1", gpu="RTX 4090")
        site.store.publish_readiness(name, {"same": True, "other": is_ready}, {"other": "a model is missing"})
    page = site.guest.get("/hosts").text
    assert "<bdi>other</bdi>" in page
    assert "a model is missing" in page
    assert "<bdi>same</bdi>" not in page
    assert "<bdi>same</bdi>" in site.guest.get("/hosts?rows=all").text


def test_settings_page_shows_origins(checked: Site) -> None:
    page = checked.guest.get("/settings?only=changed").text
    assert "environment COMFYUI_ROOT" in page
    assert "interval_minutes" not in page
    assert "interval_minutes" in checked.guest.get("/settings").text


def test_home_shows_running_tasks_and_the_durations_of_checks(host: Host, store: JobStore) -> None:
    host.cycle()
    site = build_site(host.home, store)
    page = site.guest.get("/").text
    assert "How long each check took: between " in page
    assert "In the background" not in page
    order = TaskOrder(TaskKind.DOWNLOAD, "comfywatchman download x", "2026-12-01T00:00:00Z", "x.safetensors")
    task = TaskSnapshot("a", order, TaskProgress("1 of 2 files", 50, 100), TaskState.RUNNING, Path("log"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_status, "list_tasks", lambda _session: (task,))
        page = site.guest.get("/").text
    assert 'href="/tasks/a"' in page
    assert "1 of 2 files, 50 %" in page


def test_tasks_page_lists_the_changes_over_the_page(checked: Site) -> None:
    _ = checked.host.session.log
    assert checked.client.post("/actions/queue/pause", data={"from": "now"}).status_code == 200
    assert checked.guest.post("/actions/queue/resume", data={"from": "now"}).status_code == 401
    page = checked.guest.get("/tasks").text
    assert "<code>/actions/queue/pause</code>" in page
    assert "Refused: session" in page
