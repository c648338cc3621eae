"""Asked when something is missing, kept while it counts, and never waited for before the first report."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.config import connection_variables
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.search_step import ANSWERS_SCHEMA_VERSION, StoredAnswers, expire_answers
from tests.hosts import Host
from tests.model_files import put
from tests.readiness.search.servers import SearchServers, search_servers
from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.civitai import file_json, model_json, version_json
from tests.servers.llm import ChatServer, picks

pytestmark = pytest.mark.slow

LORA = "detail_tweaker.safetensors"
OTHER = "paper_cut.safetensors"
NOTE = "answers of the search"
HOUR = 3600.0


@pytest.fixture
def made() -> Iterator[SearchServers]:
    with search_servers() as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, made: SearchServers) -> Host:
    host = Host(
        tmp_path,
        search__civitai_url=made.civitai.url,
        search__civitai_fallback_url="",
        search__huggingface_url=made.hugging_face.url,
        search__civarchive_url=made.evil.url,
        search__budget_seconds=30,
    )
    host.write("a.json", lora=LORA)
    return host


def on_civitai(name: str, *, content: bytes | None = None) -> dict[str, Any]:
    title = name.rpartition(".")[0].replace("_", " ")
    return model_json(title, [version_json([file_json(name, content=content)])])


def answer(host: Host, **changes: Any) -> str | None:
    """Run a cycle and return what the search says of the first workflow's model."""
    return host.entry("a.json", **changes).missing_models[0].answer


def doubt(host: Host) -> str | None:
    """Run a cycle and return why the result of the first workflow's model is uncertain."""
    return host.entry("a.json").missing_models[0].doubt


def requests(made: SearchServers, act: Callable[[], object]) -> int:
    """Return how many requests the sites get meanwhile."""
    before = len(made.civitai.asked) + len(made.hugging_face.asked)
    act()
    assert made.evil.asked == []
    return len(made.civitai.asked) + len(made.hugging_face.asked) - before


def test_what_is_missing_is_asked_for_and_the_report_says_what_came_of_it(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.write("b.json", lora=OTHER)
    answers = {one["name"]: (one["answer"], one["fix"]) for one in missing(host.report_after_cycle())}
    assert answers[LORA] == ("FOUND", f"Found on Civitai; fetch it: comfywatchman download {LORA}")
    not_found = "Not found under these words (searched: Civitai), which does not prove that it is nowhere."
    assert answers[OTHER] == ("UNCERTAIN", f"{not_found} Put the file into models/loras.")


def missing(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [model for entry in report["workflows"] for model in entry["missing_models"]]


def test_nobody_is_asked_while_nothing_is_missing(host: Host, made: SearchServers) -> None:
    host.write("a.json")
    assert requests(made, host.cycle) == 0
    host.write("b.json", lora="sub/other spelling.safetensors")
    host.model("loras/other spelling.safetensors")
    assert requests(made, host.cycle) == 0


def test_answers_count_for_the_cycles_after_and_nothing_heavy_is_loaded(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    assert requests(made, lambda: host.program("--run-cycle")) > 0
    code = "import sys; from comfywatchman.cli.main import run\ntry: run()\nfinally: print(*sorted(sys.modules))"
    host.command = lambda *arguments: [sys.executable, "-c", code, "--home", str(host.home), *arguments]  # type: ignore[method-assign]
    ended: list[bytes] = []
    assert requests(made, lambda: ended.append(host.program("--run-cycle").stdout)) == 0
    loaded = ended[0].split()
    assert b"comfywatchman.readiness.search_step" in loaded
    for module in (b"httpx", b"ssl", b"comfywatchman.readiness.search.chain", b"comfywatchman.readiness.download_step"):
        assert module not in loaded
    assert missing(host.report())[0]["answer"] == "FOUND"


@pytest.mark.parametrize(
    "change",
    [
        lambda host: host.write("b.json", lora=OTHER),
        lambda host: host.write("a.json", lora=LORA, checkpoint="other.safetensors"),
        lambda host: host.set(search__backend_order=["huggingface"]),
        lambda host: host.set(secrets__civitai_api_key="canary"),
        lambda host: host.set(llm__model="another"),
        lambda host: host.clock.shift_wall(-30 * 24 * HOUR),
        lambda host: host.clock.advance(awake=7 * 24 * HOUR),
    ],
    ids=["another model", "the workflow", "backends", "a key", "the model", "the clock went back", "age"],
)
def test_another_question_is_asked_anew(host: Host, made: SearchServers, change: Callable[[Host], object]) -> None:
    host.cycle()
    assert requests(made, host.cycle) == 0
    change(host)
    looked = {**host.cycle().record.phases}
    assert "search" in looked
    assert "search" not in host.cycle().record.phases


@pytest.mark.parametrize(("status", "hours"), [("no match", 7 * 24), ("UNCERTAIN", 24), ("ERROR", 1), ("odd", 1)])
def test_each_answer_counts_for_as_long_as_its_kind_does(
    host: Host, made: SearchServers, status: str, hours: int
) -> None:
    if status == "UNCERTAIN":
        made.civitai.models = [on_civitai(LORA, content=b"a" * 4096), on_civitai(LORA, content=b"b" * 4096)]
    if status == "ERROR":
        made.civitai.pages["/"] = Reply(b"", 500)
    if status == "odd":
        made.civitai.models = [{**on_civitai(LORA), "modelVersions": [None]}]
    assert answer(host) == {"no match": "UNCERTAIN", "odd": "ERROR"}.get(status, status)
    assert requests(made, lambda: host.cycle(pass_seconds=hours * HOUR - 60)) == 0
    assert requests(made, lambda: host.cycle(pass_seconds=120)) > 0


def test_an_error_that_is_only_remembered_is_asked_for_in_time(host: Host, made: SearchServers) -> None:
    made.civitai.pages["/"] = Reply(b"", 500)
    host.cycle()
    host.write("b.json", lora=OTHER)
    host.cycle(pass_seconds=HOUR / 2)
    made.civitai.pages.clear()
    made.civitai.models = [on_civitai(LORA)]
    host.cycle(pass_seconds=HOUR / 2 + 60)
    assert {one["name"]: one["answer"] for one in missing(host.report())}[LORA] == "FOUND"


def test_a_budget_of_nothing_asks_nobody_and_forgets_nothing(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.set(search__budget_seconds=0)
    assert requests(made, host.cycle) == 0
    assert missing(host.report())[0]["answer"] is None
    host.set(search__budget_seconds=30)
    assert answer(host) == "FOUND"
    host.set(search__budget_seconds=0)
    assert answer(host) == "FOUND"


def test_empty_backend_order_asks_nobody_and_forgets_nothing(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.set(search__backend_order=[])
    assert requests(made, host.cycle) == 0
    assert missing(host.report())[0]["answer"] is None
    host.set(search__backend_order=["civitai"])
    assert answer(host) == "FOUND"
    host.set(search__backend_order=[])
    assert requests(made, lambda: host.cycle(pass_seconds=30 * 24 * HOUR)) == 0
    assert answer(host) == "FOUND"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "garbage://"),
        ("HTTPS_PROXY", "http://me:hunter2#@proxy:1"),
        ("https_proxy", "socks5://me:hunter2@127.0.0.1:9"),
        ("SSL_CERT_FILE", "/absent/hunter2.pem"),
        ("SSL_CERT_DIR", "/absent"),
    ],
)
def test_verdicts_are_written_whatever_the_environment_says(
    host: Host, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in connection_variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "[::1],[,*.[")
    monkeypatch.setenv(variable, value)
    host.set(
        search__civitai_url="https://civitai.example",
        search__timeout_seconds=2,
        nodes__ask_registry=True,
        nodes__registry_url="https://registry.example",
        nodes__class_map_url="https://map.example",
    )
    host.write("b.json", last="NoSuchNode")
    report = host.report_after_cycle()
    assert host.history()[-1].success
    assert sorted(entry["status"] for entry in report["workflows"]) == ["MISSING", "UNCERTAIN"]
    assert {one["answer"] for one in missing(report)} == {"ERROR"}
    assert any(variable in problem for problem in report["problems"])
    assert "hunter2" not in json.dumps(report).replace(value, "")


def test_offline_nothing_is_said_to_be_nowhere(host: Host) -> None:
    host.set(search__civitai_url="http://127.0.0.1:9", search__timeout_seconds=1)
    for name in "bcdef":
        host.write(f"{name}.json", lora=f"model {name}.safetensors")
    began = time.monotonic()
    report = host.report_after_cycle()
    assert time.monotonic() - began < 60
    assert {one["answer"] for one in missing(report)} == {"ERROR"}
    for one in missing(report):
        assert one["fix"].startswith("The search got no response from ")
        assert one["fix"].endswith("Put the file into models/loras.")
    assert host.history()[-1].success


def test_what_the_requests_did_not_reach_is_asked_in_the_next_cycle(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.set(search__budget_requests=0)
    assert answer(host) == "ERROR"
    assert "Not searched yet" in missing(host.report())[0]["fix"]
    assert "repeated after" not in missing(host.report())[0]["fix"]
    host.set(search__budget_requests=100)
    assert answer(host) == "FOUND"


def test_the_first_report_waits_for_no_site(host: Host) -> None:
    arrived = threading.Event()

    def silent(_asked: Asked, _handler: Any) -> Reply:
        arrived.set()
        server.leave.wait(100)
        return Reply(b"{}")

    with LocalServer() as server:
        server.pages["/api/v1/models"] = silent
        host.set(search__civitai_url=server.url, search__timeout_seconds=100, search__budget_seconds=100)
        with host.started("--run-cycle") as process:
            assert arrived.wait(60)
            assert process.poll() is None
            first = missing(host.report())[0]
        assert (first["answer"], first["fix"]) == (None, "Put the file into models/loras.")


def test_a_doubt_and_its_candidates_are_in_json_markdown_terminal_and_log(
    host: Host, made: SearchServers, caplog: pytest.LogCaptureFixture
) -> None:
    made.civitai.models = [on_civitai(LORA, content=b"a" * 4096), on_civitai(LORA, content=b"b" * 4096)]
    with caplog.at_level(logging.INFO, "tests.cycle"):
        entry = host.report_after_cycle()["workflows"][0]
    (model,) = entry["missing_models"]
    assert (entry["uncertain_count"], entry["status"], model["answer"]) == (1, "MISSING", "UNCERTAIN")
    urls = [one["url"] for one in model["candidates"]]
    assert len(urls) == 2
    shown = host.layout.status_markdown.read_text("utf-8")
    assert all(url in shown for url in urls)
    assert f"1: Civitai, `{LORA}`" in shown
    (record,) = (one for one in caplog.records if one.message == "cycle finished")
    assert vars(record)["uncertain_models"] == {f"loras/{LORA}": [f"civitai: {LORA}"] * 2}
    assert f"--choose {LORA} NUMBER" in shown
    assert f"resolve {LORA}" in host.invoke("--run-cycle").output


def test_what_a_person_chooses_is_the_answer_of_the_next_cycle(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA, content=b"a" * 4096), on_civitai(LORA, content=b"b" * 4096)]
    assert answer(host) == "UNCERTAIN"
    assert host.invoke("resolve", "--choose", LORA, "2").exit_code == 0
    assert answer(host) == "FOUND"
    plan = host.report()["plan"]
    assert (plan["downloads"], plan["to_choose"]) == (1, 0)
    (item,) = json.loads(Path(plan["file"]).read_bytes())["items"]
    assert item["sha256"] == made.civitai.models[1]["modelVersions"][0]["files"][0]["hashes"]["SHA256"].lower()


def test_what_a_person_finds_out_meanwhile_is_used(host: Host, made: SearchServers) -> None:
    assert doubt(host) == "no_match_under_these_words"
    made.civitai.models = [on_civitai(LORA)]
    assert doubt(host) == "no_match_under_these_words"
    assert host.invoke("resolve", "--all", "--refresh").exit_code == 0
    assert answer(host) == "FOUND"
    assert requests(made, host.cycle) == 0


def test_plan_and_answers_of_another_comfyui_are_not_reported(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    assert answer(host) == "FOUND"
    first = host.report()["plan"]["file"]
    other = Host(host.folder / "second")
    other.home, other.variables = host.home, {**host.variables, "COMFYUI_ROOT": str(other.comfyui)}
    other.write("a.json", lora=LORA)
    other.set(search__budget_seconds=0)
    report = other.report_after_cycle()
    assert (report["plan"], missing(report)[0]["answer"]) == (None, None)
    other.set(search__budget_seconds=60)
    plan = other.report_after_cycle()["plan"]["file"]
    assert plan != first
    (item,) = json.loads(Path(plan).read_bytes())["items"]
    assert item["target"].startswith(str(other.comfyui))


@pytest.mark.parametrize("text", ["", "{broken", '{"digest": 7}', "[]"])
def test_a_damaged_memory_is_asked_for_again(host: Host, made: SearchServers, text: str) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.cycle()
    with closing(open_database(host.layout.database)) as database:
        ModelIndex(database).set_note(NOTE, text)
    assert answer(host) == "FOUND"


@pytest.mark.parametrize("version", [None, 2, ANSWERS_SCHEMA_VERSION + 1])
def test_answers_of_another_schema_version_are_dropped(host: Host, version: int | None) -> None:
    host.cycle()
    with closing(open_database(host.layout.database)) as database:
        models = ModelIndex(database)
        stored = json.loads(models.note(NOTE) or "")
        assert stored.pop("schema_version") == ANSWERS_SCHEMA_VERSION
        if version is not None:
            stored["schema_version"] = version
        models.set_note(NOTE, json.dumps(stored))
    assert "search" in host.cycle().record.phases


def test_expiring_keeps_the_words_and_has_nothing_to_do_twice(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.cycle()
    with closing(open_database(host.layout.database)) as database:
        expire_answers(database)
        text = ModelIndex(database).note(NOTE) or ""
        kept = msgspec.json.decode(text, type=StoredAnswers)
        assert kept.digest == ""
        assert [one.filename for one in kept.results] == [LORA]
        expire_answers(database)
        assert ModelIndex(database).note(NOTE) == text


def test_trouble_beside_the_search_is_a_problem_of_the_cycle(host: Host) -> None:
    put(host.layout.decisions, b"{broken")
    assert any("decisions.json was damaged" in one for one in host.report_after_cycle()["problems"])


def test_model_of_this_machine_is_found_once_and_searches_again(
    host: Host, made: SearchServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.civitai.models = [on_civitai("detail_slider.safetensors")]
    ports: dict[int, str] = {}
    monkeypatch.setattr("comfywatchman.sources.llm.detection.LOOPBACK_PORTS", ports)
    monkeypatch.setattr("comfywatchman.sources.llm.detection.detect_language_model.__defaults__", (ports,))
    monkeypatch.setattr("comfywatchman.sources.llm.detection.find_listening_ports.__defaults__", (ports,))
    host.set(llm__driver="auto", llm__command="no-such-qwen")
    assert doubt(host) == "no_match_under_these_words"
    assert requests(made, lambda: doubt(host)) == 0
    with ChatServer(picks(1)) as llm:
        llm.pages["/v1/models"] = Reply(b'{"data": [{"id": "qwen3:8b"}]}')
        ports[llm.port] = "Ollama"
        # A new model on this machine is reason enough to search at once.
        assert doubt(host) == "candidates_to_choose"
        assert [chat["model"] for chat in llm.chats][:1] == ["qwen3:8b"]
        asked = len(llm.asked)
        assert requests(made, lambda: doubt(host)) == 0
        assert len(llm.asked) == asked
