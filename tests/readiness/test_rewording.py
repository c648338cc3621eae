"""No verdict, exit code, cache lifetime or progress display depends on a sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests import rewording
from tests.hosts import Host, graph
from tests.readiness.search.servers import SearchServers, search_servers
from tests.servers.base import Reply
from tests.servers.civitai import file_json, model_json, version_json
from tests.servers.huggingface import HubFile, Repo

pytestmark = pytest.mark.slow

# All of readiness but the sample host, whose strings are program text.
MODULES = (
    "comfywatchman.readiness.assessment.",
    "comfywatchman.readiness.context",
    "comfywatchman.readiness.cycle",
    "comfywatchman.readiness.database",
    "comfywatchman.readiness.download_step",
    "comfywatchman.readiness.downloads.",
    "comfywatchman.readiness.gates",
    "comfywatchman.readiness.history",
    "comfywatchman.readiness.models.",
    "comfywatchman.readiness.nodes.",
    "comfywatchman.readiness.report.",
    "comfywatchman.readiness.scheduler.",
    "comfywatchman.readiness.search.",
    "comfywatchman.readiness.search_step",
    "comfywatchman.readiness.states",
    "comfywatchman.readiness.status",
    "comfywatchman.readiness.verdicts.",
    "comfywatchman.readiness.workflow_facts",
    "comfywatchman.readiness.workflows.",
)
TIMES = frozenset(
    {
        "acknowledged_at",
        "checked_at",
        "generated_at",
        "last_resolved_at",
        "valid_until",
        "at",
        "cycle",
        "retry_at",
        "watched_until",
        "last_cycle",
    }
)
PATHS = frozenset({"comfyui", "declared_url", "found_at", "comfyui_root", "file", "path", "url"})
CIVITAI_MODELS = [
    model_json("found one", [version_json([file_json("found_one.safetensors")])]),
    model_json("two files", [version_json([file_json("two_files.safetensors", content=b"a" * 4096)])]),
    model_json("two files", [version_json([file_json("two_files.safetensors", content=b"b" * 4096)])]),
]
"""Made once: each new one gets new ids, which the report shows."""
LOAD_IMAGE = b'{"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}'
ONLY_A_NOTE = b'{"1": {"class_type": "Note", "inputs": {}}}'


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The facts of a run without rewording."""
    return _run_twice(tmp_path_factory.mktemp("plain") / "host", (), ())


def test_scenario_shows_every_status(facts: Any) -> None:
    assert {"FOUND", "NOT_FOUND", "UNCERTAIN", "ERROR", "INVALID_FILENAME"} <= facts["answers"].keys()
    assert {"READY", "MISSING", "UNCERTAIN", "INVALID"} == facts["statuses"].keys()


@pytest.mark.parametrize(("first", "second"), [(MODULES, MODULES), ((), MODULES)], ids=["at once", "on old state"])
def test_no_decision_depends_on_a_sentence(
    tmp_path: Path, facts: Any, first: Sequence[str], second: Sequence[str]
) -> None:
    assert _run_twice(tmp_path / "host", first, second) == facts


def _run_twice(folder: Path, first: Sequence[str], second: Sequence[str]) -> Any:
    """Run cycles with one wording and go on with another, on the state that the first has written."""
    with search_servers() as servers:
        servers.civitai.models = deepcopy(CIVITAI_MODELS)
        servers.hugging_face.repos = {"owner/repo": Repo({"another.safetensors": HubFile(b"x" * 4096)})}
        _build_host(folder, servers)
        begun, count = rewording.run(f"{__name__}:begin", folder, first, seed=1)
        assert bool(count) == bool(first)
        servers.civitai.pages["/"] = Reply(b"", 500)
        before = len(servers.civitai.asked) + len(servers.hugging_face.asked)
        facts, count = rewording.run(f"{__name__}:go_on", folder, second, seed=2)
        assert bool(count) == bool(second)
        after = len(servers.civitai.asked) + len(servers.hugging_face.asked)
    return {**facts, "begun": begun, "requests": after - before}


def begin(folder: Path) -> Any:
    """Run the first cycles of a host that lacks a bit of everything."""
    host = _open_host(folder)
    host.cycle()
    host.set(search__budget_requests=0)
    host.write("unasked.json", lora="unasked.safetensors")
    return _list_facts([host.report_after_cycle()])


def go_on(folder: Path) -> Any:
    """Run further cycles on that state, and the commands that show it."""
    host = _open_host(folder)
    reports = []
    # An error counts for an hour, so that the search runs in some of these cycles only.
    for seconds in (600, 1800, 7200):
        host.cycle(pass_seconds=seconds)
        reports.append(host.report())
    host.set(search__budget_requests=0)
    host.write("later.json", lora="later.safetensors")
    reports.append(host.report_after_cycle())
    commands: list[tuple[str | Path, ...]] = [("explain", "--json", path) for path in sorted(host.workflows.iterdir())]
    commands += [("scan", "--json", host.workflows), ("status", "--json")]
    results = [host.invoke(*command) for command in commands]
    return {
        "reports": _list_facts(reports),
        "statuses": _count(reports, "status"),
        "answers": _count(reports, "answer"),
        "markdown lines": len(host.layout.status_markdown.read_text("utf-8").splitlines()),
        "exit codes": [result.exit_code for result in results],
        "printed": _list_facts([json.loads(result.stdout) for result in results if result.exit_code < 2]),
        "status lines": len(host.invoke("status").stdout.splitlines()),
        "phases": [sorted(record.phases) for record in host.history()],
    }


def _build_host(folder: Path, servers: SearchServers) -> None:
    folder.mkdir()
    host = Host(folder)
    settings = {
        "search__civitai_url": servers.civitai.url,
        "search__civitai_fallback_url": "",
        "search__huggingface_url": servers.hugging_face.url,
        "search__civarchive_url": servers.evil.url,
        "search__budget_seconds": 30,
        "search__backend_order": ["qwen", "civitai", "huggingface", "civarchive"],
    }
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    for number, lora in enumerate(("found_one", "two_files", "nowhere", "../escape", "12")):
        host.write(f"lora{number}.json", lora=f"{lora}.safetensors")
    declaring = json.loads(graph(lora="gone.safetensors"))
    url = f"{servers.hugging_face.url}/owner/repo/resolve/main/gone.safetensors"
    declaring["models"] = [{"name": "gone.safetensors", "url": url, "directory": "loras"}]
    host.write("declares.json", json.dumps(declaring).encode())
    host.write("case.json", lora="NEAR.safetensors")
    host.model("loras/near.safetensors")
    host.write("unfinished.json", lora="unfinished.safetensors")
    host.model("loras/unfinished.safetensors")
    host.model("loras/unfinished.safetensors.aria2", b"")
    host.write("node.json", last="UnknownNode")
    host.write("ready.json")
    host.write("broken.json", b"{")
    host.write("empty.json", ONLY_A_NOTE)
    host.write("picture.json", LOAD_IMAGE)


def _open_host(folder: Path) -> Host:
    return Host(folder, **json.loads((folder / "settings.json").read_text("utf-8")))


def _list_facts(documents: Sequence[Any]) -> Any:
    return [_drop_changing(rewording.drop_texts(document)) for document in documents]


def _drop_changing(value: Any) -> Any:
    """Return a JSON value without times and addresses, which differ from run to run."""
    if isinstance(value, dict):
        # A workflow's own hash changes with the port in the address that it declares.
        changing = TIMES | PATHS | ({"sha256"} if "path" in value else frozenset())
        return {key: _drop_changing(item) for key, item in value.items() if key not in changing}
    return [_drop_changing(item) for item in value] if isinstance(value, list) else value


def _count(value: Any, key: str) -> dict[str, int]:
    """Count the values under a key of workflows and models, however deep."""
    counts: dict[str, int] = {}
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        for name, count in _count(child, key).items():
            counts[name] = counts.get(name, 0) + count
    if isinstance(value, dict) and str(value.get(key, "")).isupper():
        counts[value[key]] = counts.get(value[key], 0) + 1
    return counts
