"""Finding a Qwen model on this machine, with real local servers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.config import load
from comfywatchman.base.settings import LlmSection
from comfywatchman.sources.llm.detection import (
    DetectedModel,
    apply_detection,
    choose_qwen_model,
    detect_language_model,
    find_listening_ports,
    is_on_loopback,
    read_qwen_settings,
)
from tests.servers.base import LocalServer, Reply


@pytest.fixture
def section() -> LlmSection:
    settings = load(folder=Path("/"), environment={}).settings.llm
    return msgspec.structs.replace(settings, command="no-such-qwen")


@contextmanager
def offering(*names: str) -> Iterator[LocalServer]:
    models = json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
    with LocalServer({"/v1/models": Reply(models.encode())}) as server:
        yield server


def put_qwen(folder: Path, settings: object) -> Path:
    """Put a qwen program and its settings into a folder, and return the program."""
    program = folder / "qwen"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    folder.joinpath(".qwen").mkdir()
    folder.joinpath(".qwen", "settings.json").write_text(json.dumps(settings))
    return program


def test_auto_is_the_default(section: LlmSection) -> None:
    assert section.driver == "auto"


def test_server_with_a_qwen_model_is_found(section: LlmSection, tmp_path: Path) -> None:
    with offering("llama3:8b") as other, offering("nomic-embed", "qwen2.5:7b") as server:
        ports = {other.port: "Ollama", server.port: "LM Studio"}
        found = detect_language_model(section, tmp_path, ports)
        assert found == DetectedModel("openai", f"http://127.0.0.1:{server.port}/v1", "qwen2.5:7b", "LM Studio")
        assert detect_language_model(section, tmp_path, {other.port: "Ollama"}) is None
        # No key is sent to a server that nobody named.
        assert all("authorization" not in asked.headers for asked in (*server.asked, *other.asked))
    applied = apply_detection(section, found)
    assert (applied.driver, applied.base_url, applied.model) == ("openai", found.base_url, "qwen2.5:7b")
    assert apply_detection(section, None).driver == "none"
    chosen = msgspec.structs.replace(section, driver="qwen-cli")
    assert apply_detection(chosen, found) == chosen


def test_servers_of_another_kind_are_passed_over(section: LlmSection, tmp_path: Path) -> None:
    replies = [
        Reply(b"<html>", 200),
        Reply(b'{"data": [{"id": 5}, "qwen3", {"name": "qwen3"}]}'),
        Reply(b"{}", 404),
        Reply(b"", 302, {"Location": "http://127.0.0.1:9/v1/models"}),
    ]
    for reply in replies:
        with LocalServer({"/v1/models": reply}) as server:
            assert detect_language_model(section, tmp_path, {server.port: "Ollama"}) is None


def test_only_open_ports_are_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert find_listening_ports([port]) == ()
    with offering("qwen3:8b") as server:
        assert find_listening_ports([port, server.port]) == (server.port,)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["llama3", "mistral"], None),
        (["qwen3-embedding:4b", "qwen2.5-coder:7b", "Qwen2.5-VL-7B"], None),
        (["qwen2.5-coder:7b", "Qwen3-8B-Q4_K_M.gguf"], "Qwen3-8B-Q4_K_M.gguf"),
        (["qwen2.5:7b", "qwen3:8b"], "qwen3:8b"),
    ],
)
def test_general_qwen_model_is_chosen(names: list[str], chosen: str | None) -> None:
    assert choose_qwen_model(names, "qwen3:8b") == chosen


def test_model_that_the_user_named_is_taken_if_it_is_a_qwen_model() -> None:
    assert choose_qwen_model(["qwen3:8b", "qwen2.5-coder:7b"], "qwen2.5-coder:7b") == "qwen2.5-coder:7b"
    assert choose_qwen_model(["llama3", "qwen3:8b"], "llama3") == "qwen3:8b"


LOCAL = "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"security": {"auth": {"baseUrl": LOCAL, "apiKey": "x"}}, "model": {"name": "qwen3"}}, "qwen3"),
        ({"env": {"OPENAI_BASE_URL": "http://localhost:1/v1", "OPENAI_MODEL": "Qwen3-8B"}}, "Qwen3-8B"),
        ({"modelProviders": {"openai": [{"id": "gpt"}, {"id": "qwen3", "baseUrl": LOCAL}]}}, "qwen3"),
        ({"security": {"auth": {"baseUrl": LOCAL}}, "model": {"name": "llama3"}}, None),
        ({"security": {"auth": {"baseUrl": "https://dashscope.example/v1"}}, "model": {"name": "qwen-max"}}, None),
        ({"security": {"auth": {"selectedType": "qwen-oauth"}}}, None),
        ({"security": [], "modelProviders": {"openai": [5]}}, None),
        (None, None),
    ],
)
def test_command_line_is_used_only_with_a_qwen_model_of_this_machine(settings: Any, model: str | None) -> None:
    found = read_qwen_settings(settings)
    assert (found.model if found else None) == model


def test_command_line_comes_first(section: LlmSection, tmp_path: Path) -> None:
    with offering("qwen3:8b") as server:
        base_url = f"http://127.0.0.1:{server.port}/v1"
        content = {"security": {"auth": {"baseUrl": base_url}}, "model": {"name": "qwen3"}}
        program = put_qwen(tmp_path, content)
        with_program = msgspec.structs.replace(section, command=str(program))
        found = detect_language_model(with_program, tmp_path, {server.port: "Ollama"})
        assert found == DetectedModel("qwen-cli", base_url, "qwen3", "the qwen command line")
        # Without the program, its settings do not count.
        other = detect_language_model(section, tmp_path, {server.port: "Ollama"})
        assert other is not None
        assert other.driver == "openai"
    # Its server has ended.
    assert detect_language_model(with_program, tmp_path, {}) is None


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:11434/v1", True),
        ("http://127.9.9.9/v1", True),
        ("https://localhost/v1", True),
        ("http://10.0.0.5:11434/v1", False),
        ("http://localhost.example/v1", False),
        ("http://user@127.0.0.1/v1", False),
        ("file:///v1", False),
        ("", False),
    ],
)
def test_loopback_is_recognised_without_a_name_lookup(url: str, *, is_local: bool) -> None:
    assert is_on_loopback(url) is is_local


@pytest.mark.parametrize("kind", ["large", "fifo"])
def test_settings_that_are_no_small_file_are_passed_over(section: LlmSection, tmp_path: Path, kind: str) -> None:
    with offering("qwen3:8b") as server:
        content = {"security": {"auth": {"baseUrl": f"http://127.0.0.1:{server.port}/v1"}}, "model": {"name": "qwen3"}}
        program = put_qwen(tmp_path, content | {"padding": "x" * (1 << 20)})
        if kind == "fifo":
            path = tmp_path / ".qwen" / "settings.json"
            path.unlink()
            os.mkfifo(path)
        with_program = msgspec.structs.replace(section, command=str(program))
        assert detect_language_model(with_program, tmp_path, {}) is None
