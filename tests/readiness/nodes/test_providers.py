"""Providers of a missing class: the Manager's map first, then the Comfy Registry within a time budget."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from comfywatchman.readiness.status import MissingNode, WorkflowEntry
from tests.hosts import Host
from tests.model_files import put
from tests.servers.base import LocalServer, Reply

DAY = 86400.0


def asked_path(class_type: str) -> str:
    return f"/comfy-nodes/{class_type}/node"


def known(package: str) -> Reply:
    return Reply(orjson.dumps({"id": package, "name": "A pack", "repository": f"https://example.org/{package}"}))


UNKNOWN = Reply(b'{"message": "not found"}', 404)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, server: LocalServer) -> Host:
    host = Host(tmp_path, nodes__ask_registry=True, nodes__registry_url=server.url, nodes__registry_budget_seconds=60)
    host.write("a.json", last="MyNode")
    return host


def node(entry: WorkflowEntry) -> MissingNode:
    (found,) = entry.missing_nodes
    return found


def test_class_of_a_registry_package_is_missing(host: Host, server: LocalServer) -> None:
    server.pages[asked_path("MyNode")] = known("my-pack")
    entry = host.entry("a.json")
    assert (entry.status, entry.uncertain_count) == ("MISSING", 0)
    assert [(one.id, one.url) for one in node(entry).packages] == [("my-pack", "https://example.org/my-pack")]
    assert node(entry).fix == "Install A pack with ComfyUI-Manager and restart ComfyUI."


@pytest.mark.parametrize(
    ("reply", "lifetime"),
    [(known("my-pack"), 30 * DAY), (UNKNOWN, 7 * DAY), (Reply(b"oops", 500), DAY / 24)],
    ids=["package", "nobody", "failure"],
)
@pytest.mark.slow
def test_registry_answer_is_used_for_its_lifetime(
    host: Host, server: LocalServer, reply: Reply, lifetime: float
) -> None:
    server.pages[asked_path("MyNode")] = reply
    first = host.entry("a.json")
    assert len(server.asked) == 1
    assert host.entry("a.json", pass_seconds=60) == first
    host.cycle(pass_seconds=lifetime - 120)
    assert len(server.asked) == 1
    host.cycle(pass_seconds=120)
    assert len(server.asked) == 2
    host.cycle(pass_seconds=120)
    assert len(server.asked) == 2


def test_class_unknown_to_the_registry_is_uncertain(host: Host, server: LocalServer) -> None:
    server.pages[asked_path("MyNode")] = UNKNOWN
    entry = host.entry("a.json")
    assert (entry.status, entry.uncertain_count) == ("UNCERTAIN", 1)
    assert "the Comfy Registry" in (node(entry).evidence or "")


def test_failing_registry_is_named_and_leaves_the_class_uncertain(host: Host, server: LocalServer) -> None:
    server.pages[asked_path("MyNode")] = Reply(b"oops", 500)
    entry = host.entry("a.json")
    assert (entry.status, entry.uncertain_count) == ("UNCERTAIN", 1)
    assert "status 500" in (node(entry).evidence or "")


@pytest.mark.slow
def test_failing_registry_is_queried_once_an_hour(host: Host, server: LocalServer) -> None:
    host.write("b.json", last="OtherNode")
    host.cycle()
    assert len(server.asked) == 1
    server.pages |= {asked_path("MyNode"): known("my-pack"), asked_path("OtherNode"): known("other-pack")}
    host.cycle()
    assert len(server.asked) == 1, "an hour without it, not a try for each class"
    host.cycle(pass_seconds=2 * 3600)
    assert {asked.path for asked in server.asked} == {asked_path("MyNode"), asked_path("OtherNode")}
    assert host.report()["summary"]["missing"] == 2


@pytest.mark.slow
def test_hanging_registry_takes_no_longer_than_the_budget(host: Host, server: LocalServer) -> None:
    server.pages[asked_path("MyNode")] = lambda *_: Reply() if server.leave.wait(100) else None
    host.set(nodes__registry_budget_seconds=0.3)
    for n in range(5):
        host.write(f"{n}.json", last=f"Other{n}")
        server.pages[asked_path(f"Other{n}")] = server.pages[asked_path("MyNode")]
    began = time.monotonic()
    status = host.status()
    assert time.monotonic() - began < 60
    assert status.summary.uncertain == 6


@pytest.mark.slow
def test_slow_answers_share_one_budget(tmp_path: Path) -> None:
    """Each answer takes most of the budget: the second request must not get the whole budget again."""
    for seconds in (1.0, 10.0, 40.0):
        used_seconds, requests = ask_slow_registry(tmp_path / f"{seconds}", seconds)
        # On a slow machine the first answer may take the whole budget.
        if used_seconds < 0.8 * seconds * 4 and requests == 2:
            return
    raise AssertionError((used_seconds, requests))


def ask_slow_registry(folder: Path, budget_seconds: float) -> tuple[float, int]:
    """Let answers take most of a budget; return the time of a cycle, and the number of requests."""
    with LocalServer() as server:
        host = Host(folder, nodes__ask_registry=True, nodes__registry_url=server.url)
        host.set(nodes__registry_budget_seconds=budget_seconds)

        def slowly(*_: object) -> Reply:
            server.leave.wait(0.8 * budget_seconds)
            return UNKNOWN

        for n in range(4):
            host.write(f"{n}.json", last=f"Other{n}")
            server.pages[asked_path(f"Other{n}")] = slowly

        class RealClock(type(host.clock)):  # type: ignore[misc]
            def monotonic(self) -> float:
                return time.monotonic()

        host.clock.__class__ = RealClock
        began = time.monotonic()
        host.cycle()
        return time.monotonic() - began, len(server.asked)


def test_no_budget_sends_no_request(host: Host, server: LocalServer) -> None:
    host.set(nodes__registry_budget_seconds=0)
    entry = host.entry("a.json")
    assert server.asked == []
    assert "the next cycle continues" in (node(entry).evidence or "")


def test_host_with_all_classes_sends_no_request(host: Host, server: LocalServer) -> None:
    host.write("a.json")
    host.cycle()
    assert server.asked == []


def test_ask_registry_false_sends_no_request(host: Host, server: LocalServer) -> None:
    host.set(nodes__ask_registry=False)
    host.cycle()
    assert server.asked == []


@pytest.mark.slow
def test_damaged_registry_answer_is_requested_again(host: Host, server: LocalServer) -> None:
    server.pages[asked_path("MyNode")] = known("my-pack")
    host.cycle()
    with sqlite3.connect(host.layout.database) as connection:
        connection.execute("UPDATE registry_answer SET answer = x'00'")
    connection.close()
    assert host.entry("a.json").status == "MISSING"
    assert len(server.asked) == 2


def install_map(folder: Path, mapped: dict[str, object]) -> Path:
    return put(folder / "extension-node-map.json", orjson.dumps(mapped))


MAP: dict[str, object] = {
    "https://github.com/x/one": [["OneOwner", "TwoOwners"], {"title_aux": "One"}],
    "https://github.com/x/two": [["TwoOwners"], {"title_aux": "Two"}],
}


def test_installed_class_map_goes_before_the_registry(host: Host, server: LocalServer) -> None:
    install_map(host.comfyui / "custom_nodes" / "ComfyUI-Manager", MAP)
    host.write("a.json", last="OneOwner")
    entry = host.entry("a.json")
    assert (entry.status, entry.uncertain_count) == ("MISSING", 0)
    assert [one.url for one in node(entry).packages] == ["https://github.com/x/one"]
    assert "installed on this host" in (node(entry).packages[0].evidence or node(entry).evidence or "")
    assert server.asked == []
    assert host.layout.class_map.is_file()


def test_class_of_several_packages_is_uncertain_and_lists_them(host: Host) -> None:
    install_map(host.comfyui / "custom_nodes" / "comfyui-manager", MAP)
    host.write("a.json", last="TwoOwners")
    entry = host.entry("a.json")
    assert entry.uncertain_count == 1
    assert sorted(one.url or "" for one in node(entry).packages) == [
        "https://github.com/x/one",
        "https://github.com/x/two",
    ]


def test_class_map_of_a_pip_installed_manager_is_found(host: Host) -> None:
    install_map(host.comfyui / ".venv/lib/python3.12/site-packages/comfyui_manager", MAP)
    host.write("a.json", last="OneOwner")
    assert host.entry("a.json").status == "MISSING"


@pytest.mark.parametrize("as_file", [True, False])
def test_configured_class_map_goes_before_an_installed_one(host: Host, *, as_file: bool) -> None:
    install_map(host.comfyui / "custom_nodes" / "ComfyUI-Manager", {})
    path = install_map(host.folder / "maps", MAP)
    host.set(nodes__class_map=path if as_file else path.parent)
    host.write("a.json", last="OneOwner")
    assert "the configured class map" in (node(host.entry("a.json")).packages[0].evidence or "")


@pytest.mark.slow
def test_new_class_map_changes_the_verdict(host: Host) -> None:
    path = install_map(host.folder / "maps", {})
    host.set(nodes__class_map=path, nodes__ask_registry=False)
    assert host.entry("a.json").status == "UNCERTAIN"
    install_map(host.folder / "maps", {"https://github.com/x/one": [["MyNode"], {}]})
    assert host.entry("a.json").status == "MISSING"


def test_invalid_class_map_is_a_problem_and_the_registry_is_used(host: Host, server: LocalServer) -> None:
    put(host.comfyui / "custom_nodes" / "ComfyUI-Manager" / "extension-node-map.json", b"[]")
    server.pages[asked_path("MyNode")] = UNKNOWN
    host.write("b.json", last="OtherNode")
    status = host.status()
    assert sum("not a map" in problem for problem in status.problems) == 1
    assert asked_path("MyNode") in {asked.path for asked in server.asked}
