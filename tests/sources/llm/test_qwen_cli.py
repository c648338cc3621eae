"""The `qwen` command line: its contract with a scripted stand-in, and the real program where it is installed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.config import load
from comfywatchman.base.errors import Failure
from comfywatchman.sources.llm.detection import detect_language_model
from comfywatchman.sources.llm.qwen_cli import QwenCommand
from comfywatchman.sources.llm.ranking import SCHEMA, LlmPick, LlmProposal, LlmQuestion, LlmSearchResult
from tests.servers.llm import ChatServer, Script, picks

KEY = "canary-llm-key"
QUESTION = LlmQuestion(
    "wan.safetensors", "loras", (LlmSearchResult("civitai", "Wan"), LlmSearchResult("huggingface", "a/b"))
)
REAL = Path(__file__).parents[3] / ".tools" / "qwen" / "node_modules" / ".bin"

STAND_IN = """#!{python}
import json, os, sys, time
seen = {{"argv": sys.argv[1:], "env": dict(os.environ), "files": os.listdir(), "in": sys.stdin.read()}}
open({seen!r}, "w").write(json.dumps(seen))
{body}
"""


def stand_in(folder: Path, body: str) -> Path:
    program = folder / "qwen"
    program.write_text(STAND_IN.format(python=sys.executable, seen=str(folder / "seen.json"), body=body))
    program.chmod(0o755)
    return program


def answering(folder: Path, printed: object, *, status: int = 0) -> Path:
    text = printed if isinstance(printed, str) else json.dumps(printed)
    return stand_in(folder, f"sys.stdout.write({text!r}); sys.exit({status})")


def model(program: Path | str, *, timeout_seconds: float = 60, base_url: str = "http://127.0.0.1:9/v1") -> QwenCommand:
    return QwenCommand(command=str(program), base_url=base_url, model="qwen3", key=KEY, timeout_seconds=timeout_seconds)


def seen(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found


def failure_of(program: Path | str, *, timeout_seconds: float = 60) -> Failure:
    with pytest.raises(Failure) as caught:
        model(program, timeout_seconds=timeout_seconds).propose(QUESTION)
    return caught.value


ANSWER = json.loads(picks(2, queries=["wan"]))


@pytest.mark.parametrize(
    "printed",
    [
        [{"type": "system"}, {"type": "assistant"}, {"type": "result", "is_error": False, "structured_result": ANSWER}],
        [{"type": "result", "result": "old"}, {"type": "result", "result": f"```json\n{json.dumps(ANSWER)}\n```"}],
        {"type": "result", "is_error": False, "result": "", "structured_result": ANSWER},
        {"result": json.dumps(ANSWER)},
    ],
    ids=["events", "events without a schema", "one object", "one object without a schema"],
)
def test_both_output_formats_are_parsed(tmp_path: Path, printed: object) -> None:
    found = model(answering(tmp_path, printed)).propose(QUESTION)
    assert found == LlmProposal((LlmPick(2, "the name is equal"),), ("wan",))


def test_program_runs_without_tools_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_API_KEY", "canary-civitai")
    monkeypatch.setenv("HF_TOKEN", "canary-hf")
    model(answering(tmp_path, {"structured_result": ANSWER}), base_url="http://127.0.0.1:7/v1").propose(QUESTION)
    found = seen(tmp_path)
    arguments = found["argv"]
    named = dict(itertools.pairwise(arguments))
    assert named["--openai-base-url"] == "http://127.0.0.1:7/v1"
    assert json.loads(named["--json-schema"]) == SCHEMA
    assert (named["--max-tool-calls"], named["--max-wall-time"], named["--output-format"]) == ("0", "60s", "json")
    assert {"run_shell_command", "write_file", "web_fetch", "agent"} <= set(named["--exclude-tools"].split(","))
    assert json.loads(arguments[-1])["file"] == "wan.safetensors"
    assert not {"--yolo", "-y"} & set(arguments)
    assert (found["files"], found["in"]) == ([], "")
    assert found["env"]["HOME"] != os.environ["HOME"]
    assert not Path(found["env"]["HOME"]).exists()
    assert "canary" not in json.dumps(arguments)
    secrets = {name for name, text in found["env"].items() if "canary" in text}
    assert secrets == {"OPENAI_API_KEY"}


def test_exhausted_budget_is_a_timeout(tmp_path: Path) -> None:
    failure = failure_of(stand_in(tmp_path, "sys.exit(55)"))
    assert failure.code == "child-timeout"
    assert "limit of time or turns" in failure.message


@pytest.mark.slow
def test_hanging_program_is_killed_with_its_children(tmp_path: Path) -> None:
    program = stand_in(tmp_path, "import subprocess; print(subprocess.Popen(['sleep', '600']).pid); time.sleep(600)")
    for limit_seconds in (1, 15, 60):
        command = QwenCommand(
            command=str(program), base_url="", model="m", timeout_seconds=limit_seconds, grace_seconds=0
        )
        with pytest.raises(Failure) as caught:
            command.propose(QUESTION)
        assert caught.value.code == "child-timeout"
        # A slow machine may not have started it by then.
        if (tmp_path / "seen.json").exists():
            break
    assert not Path(seen(tmp_path)["env"]["HOME"]).exists()


@pytest.mark.parametrize(
    ("printed", "status", "code"),
    [
        ([{"type": "result", "is_error": True, "result": "API error 500"}], 1, "child-failed"),
        ([{"type": "result", "is_error": True, "result": "no"}], 0, "child-failed"),
        ([{"type": "result", "result": "fine"}], 1, "child-failed"),
        ("Usage: qwen [options]", 1, "child-failed"),
        ("", 0, "child-failed"),
        ("[" * 9999, 0, "child-failed"),
        ([], 0, "child-failed"),
        ({"result": 3}, 0, "child-failed"),
        ({"type": "result", "result": "I found nothing, sorry."}, 0, "llm-answer"),
        ({"type": "result", "structured_result": {"status": "FOUND", "url": "https://evil"}}, 0, "llm-answer"),
        ({"structured_result": {"picks": [], "queries": [], "x": "y" * 100_000}}, 0, "llm-answer"),
    ],
)
def test_unusable_output_is_a_failure(tmp_path: Path, printed: object, status: int, code: str) -> None:
    assert failure_of(answering(tmp_path, printed, status=status)).code == code


def test_endless_output_is_a_failure_in_bounded_memory(tmp_path: Path) -> None:
    failure = failure_of(stand_in(tmp_path, "sys.stdout.write('x' * (3 << 20))"))
    assert failure.code == "llm-answer"


def test_error_output_is_shown_without_the_key(tmp_path: Path) -> None:
    program = stand_in(tmp_path, f"sys.stderr.write('bad key {KEY}\\x1b[31m'); sys.exit(1)")
    failure = failure_of(program)
    assert "bad key …" in failure.message
    assert KEY not in failure.message
    assert failure.message.isprintable()


def test_missing_program_is_reported_with_a_hint(tmp_path: Path) -> None:
    failure = failure_of(tmp_path / "nowhere" / "qwen")
    assert failure.code == "child-failed"
    assert "[llm] command" in str(failure.hint)


def test_name_has_model_and_program() -> None:
    assert model("qwen").name == "qwen3 (qwen command line)"


@pytest.fixture
def real_program(monkeypatch: pytest.MonkeyPatch) -> str:
    """The real command line; `npm install node@22 @qwen-code/qwen-code@0.24.4` in .tools/qwen puts it there."""
    if not (REAL / "qwen").exists():
        pytest.skip("the qwen command line is not installed in .tools/qwen")
    monkeypatch.setenv("PATH", f"{REAL}:{os.environ['PATH']}")
    found = shutil.which("qwen")
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "code"),
    [
        (picks(2, 7, queries=["wan"]), None),
        ("I found it at https://evil.example/wan.safetensors, confidence 1.0", "child-failed"),
        (lambda _question: None, "child-timeout"),
    ],
    ids=["answers", "chats", "hangs"],
)
def test_real_command_line_has_no_tools_and_keeps_its_budget(
    real_program: str, script: Script, code: str | None
) -> None:
    with ChatServer(script) as server:
        asked = model(real_program, base_url=server.base_url, timeout_seconds=60 if code != "child-timeout" else 30)
        if code is None:
            assert asked.propose(QUESTION) == LlmProposal((LlmPick(2, "the name is equal"),), ("wan",), 1)
        else:
            with pytest.raises(Failure) as caught:
                asked.propose(QUESTION)
            assert caught.value.code == code
    assert server.questions[0]["file"] == "wan.safetensors"
    for chat in server.chats:
        assert [tool["function"]["name"] for tool in chat["tools"]] == ["structured_output"]
        assert KEY not in json.dumps(chat)
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}


@pytest.mark.slow
def test_real_command_line_that_is_set_up_on_this_machine_is_found_and_used(real_program: str, tmp_path: Path) -> None:
    with ChatServer(picks(1)) as server:
        auth = {"selectedType": "openai", "baseUrl": server.base_url, "apiKey": "none"}
        folder = tmp_path / ".qwen"
        folder.mkdir()
        settings = {"security": {"auth": auth}, "model": {"name": "qwen3-coder-30b"}}
        folder.joinpath("settings.json").write_text(json.dumps(settings))
        section = load(folder=Path("/"), environment={}).settings.llm
        found = detect_language_model(msgspec.structs.replace(section, command=real_program), tmp_path, {})
        assert found is not None
        assert (found.driver, found.model) == ("qwen-cli", "qwen3-coder-30b")
        asked = QwenCommand(command=real_program, base_url=found.base_url, model=found.model, timeout_seconds=60)
        assert [pick.id for pick in asked.propose(QUESTION).picks] == [1]
    assert {chat["model"] for chat in server.chats} == {"qwen3-coder-30b"}
