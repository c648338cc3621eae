"""`resolve --choose` with one key."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from comfywatchman.cli.resolve_choice import ask_for_choice, describe_candidate
from comfywatchman.readiness.search.results import FileDetails, HubIds, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.states import SearchDoubt
from tests.hosts import Host
from tests.readiness.search.servers import SearchServers, search_servers
from tests.servers.civitai import file_json, model_json, sha256_of, version_json

NAME = "detail_tweaker.safetensors"


def build_result(count: int, *, suggested: int | None = None) -> SearchResult:
    candidates = tuple(
        SearchCandidate("civitai", NAME, HubIds(civitai_version=number), suggested=number == suggested)
        for number in range(1, count + 1)
    )
    doubt = SearchDoubt.CANDIDATES_TO_CHOOSE
    return SearchResult(
        SearchStatus.UNCERTAIN, NAME, "loras", "2026-11-20T14:00:00Z", candidates=candidates, doubt=doubt
    )


@pytest.mark.parametrize(
    ("keys", "suggested", "choice"),
    [
        ("2", None, "2"),
        ("\r", 2, "2"),
        # Neither Enter without a suggestion nor a number that is not listed does anything.
        ("\r93", None, "3"),
        ("c", None, "12"),
        ("s", 1, ""),
        ("q", 1, None),
        ("\x03", 1, None),
    ],
)
def test_one_key_chooses(keys: str, suggested: int | None, choice: str | None) -> None:
    result = build_result(12 if keys == "c" else 3, suggested=suggested)
    pressed = iter(keys)
    assert ask_for_choice(result, lambda: next(pressed)) == choice
    assert next(pressed, None) is None


def test_candidate_shows_what_tells_it_apart() -> None:
    details = FileDetails("fp16", "pruned", is_primary=True, version="v8")
    candidate = SearchCandidate(
        "civitai",
        NAME,
        size=2 << 30,
        sha256="a" * 64,
        base_model="SD 1.5",
        details=details,
        local_path="/m/x.safetensors",
        suggested=True,
    )
    shown = describe_candidate(candidate).split(" · ")
    assert shown[:3] == [NAME, "2.00 GiB", "SD 1.5"]
    assert shown[3:] == ["suggested", "already here: /m/x.safetensors", "version v8", "fp16", "pruned", "main file"]


@pytest.fixture
def made() -> Iterator[SearchServers]:
    with search_servers() as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, made: SearchServers) -> Host:
    return Host(
        tmp_path,
        search__civitai_url=made.civitai.url,
        search__civitai_fallback_url="",
        search__huggingface_url=made.hugging_face.url,
        search__civarchive_url=made.evil.url,
    )


def press_enter(host: Host) -> tuple[int, bytes]:
    """Run `resolve --choose` on a terminal and press Enter until it ends, for keys before its prompt are dropped."""
    ours, theirs = os.openpty()
    command = host.command("resolve", "--choose")
    child = subprocess.Popen(command, cwd=host.folder, env=host.measured(), stdin=theirs, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 250
    while child.poll() is None and time.monotonic() < deadline:
        os.write(ours, b"\r")
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
    child.kill()
    output, _errors = child.communicate()
    os.close(theirs)
    os.close(ours)
    return child.returncode, output


@pytest.mark.slow
def test_enter_takes_the_suggestion(host: Host, made: SearchServers) -> None:
    full = file_json(NAME, sizeKB=4 << 20, metadata={"format": "SafeTensor", "size": "full", "fp": "fp32"})
    full["hashes"] = {"SHA256": sha256_of("full")}
    pruned = file_json(NAME, sizeKB=2 << 20, type="Pruned Model")
    made.civitai.models = [model_json("Detail Tweaker", [version_json([pruned, full])])]
    host.write("a.json", lora=NAME)
    shown = host.invoke("resolve", "--all").output
    assert "fp16 · pruned · main file" in shown
    assert shown.count("suggested") == 1
    refused = host.invoke("resolve", "--choose", NAME)
    assert refused.exit_code == 2
    assert "Without a terminal" in refused.output
    status, output = press_enter(host)
    assert status == 0
    assert f"From now on {NAME} is civitai:".encode() in output
    assert b"Enter for 1" in output
    assert host.invoke("resolve", "--all").exit_code == 0
