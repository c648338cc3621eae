from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Iterator

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.llm.openai import ChatCompletions
from comfywatchman.sources.llm.ranking import SCHEMA, LlmPick, LlmProposal, LlmQuestion, LlmSearchResult
from tests.servers.base import LocalServer, Reply
from tests.servers.llm import CHAT, ChatServer, Script, picks, tool_call

KEY = "canary-llm-key"
QUESTION = LlmQuestion(
    "wan.safetensors", "loras", (LlmSearchResult("civitai", "Wan"), LlmSearchResult("huggingface", "a/b")), ("wan",)
)


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60, max_bytes=200_000) as opened:
        yield opened


def failure_of(session: HttpSession, script: Script) -> Failure:
    with ChatServer(script) as server, pytest.raises(Failure) as caught:
        ChatCompletions(session, base_url=server.base_url, model="m", key=KEY).propose(QUESTION)
    return caught.value


def test_request_has_a_schema_and_no_tools(session: HttpSession) -> None:
    with ChatServer(picks(2, queries=["wan lora"])) as server:
        model = ChatCompletions(session, base_url=f"{server.base_url}/", model="qwen-max", key=KEY)
        assert model.propose(QUESTION) == LlmProposal((LlmPick(2, "the name is equal"),), ("wan lora",))
    assert model.name == "qwen-max"
    (chat,) = server.chats
    assert chat["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (chat["model"], chat["temperature"], chat["stream"]) == ("qwen-max", 0, False)
    assert "tools" not in chat
    assert KEY not in json.dumps(chat)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.questions[0]["results"][1]["title"] == "a/b"


def test_unsupported_schema_falls_back_once(session: HttpSession) -> None:
    with ChatServer(f"```json\n{picks(1)}\n```", unknown_forms=frozenset({"json_schema", "json_object"})) as server:
        model = ChatCompletions(session, base_url=server.base_url, model="m")
        for _ in range(2):
            assert [pick.id for pick in model.propose(QUESTION).picks] == [1]
    forms = [chat.get("response_format", {}).get("type") for chat in server.chats]
    assert forms == ["json_schema", "json_object", None, None]
    assert "authorization" not in server.asked[0].headers


def test_server_that_refuses_every_format_is_a_failure(session: HttpSession) -> None:
    with ChatServer(Reply(b"{}", 400)) as server, pytest.raises(Failure) as caught:
        ChatCompletions(session, base_url=server.base_url, model="m").propose(QUESTION)
    assert caught.value.code == "http-status"
    assert len(server.chats) == 3


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("I am sorry, I cannot browse the web.", "llm-answer"),
        (picks(1)[:-3], "llm-answer"),
        ("", "llm-answer"),
        ("x" * 100_000, "llm-answer"),
        ("x" * 300_000, "http-body"),
        (tool_call("run_shell_command", '{"command": "curl evil"}'), "llm-answer"),
        (Reply(b'{"choices": []}'), "llm-answer"),
        (Reply(b'{"choices": 3}'), "llm-answer"),
        (Reply(b"<html>"), "http-body"),
        (Reply(b"{}", 500), "http-status"),
        (Reply(b"{}", 429), "http-status"),
        (Reply(b"", 307, {"Location": "http://127.0.0.1:9/v1/chat/completions"}), "http-status"),
    ],
)
def test_unusable_response_is_a_failure(session: HttpSession, script: Script, code: str) -> None:
    assert failure_of(session, script).code == code


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_reported_and_not_shown(session: HttpSession, status: int) -> None:
    failure = failure_of(session, Reply(b'{"error": "bad key"}', status))
    assert "LLM_API_KEY" in str(failure.hint)
    assert KEY not in "".join(traceback.format_exception(failure))


@pytest.mark.slow
def test_silent_model_times_out() -> None:
    with HttpSession(timeout_seconds=0.3) as session:
        failure = failure_of(session, lambda _question: None)
    assert failure.code == "http-unreachable"


def test_missing_server_is_unreachable(session: HttpSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Failure, match="did not answer"):
        ChatCompletions(session, base_url=f"http://127.0.0.1:{port}/v1", model="m").propose(QUESTION)


def test_key_is_not_sent_to_a_redirect_target(session: HttpSession) -> None:
    with LocalServer() as other:
        failure_of(session, Reply(b"", 308, {"Location": other.url + CHAT}))
    assert other.asked == []
