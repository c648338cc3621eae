"""`resolve`: from workflows to answers, choices that last, and what a person sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host, graph
from tests.model_files import put, safetensors
from tests.readiness.search.servers import SearchServers, search_servers
from tests.servers.civitai import file_json, model_json, sha256_of, version_json
from tests.servers.huggingface import HubFile, HuggingFaceServer, Repo
from tests.servers.llm import ChatServer, picks

LORA = "detail_tweaker.safetensors"
OTHER = "detail_slider.safetensors"
FILE = HubFile(b"x" * 4096)


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


def on_civitai(*names: str) -> dict[str, Any]:
    return model_json("detail", [version_json([file_json(name) for name in names])])


def results(host: Host, *arguments: str | Path) -> list[dict[str, Any]]:
    found = json.loads(host.invoke("resolve", *arguments, "--json").stdout)
    listed: list[dict[str, Any]] = found["results"]
    return listed


@pytest.mark.slow
def test_every_missing_model_has_a_result(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.write("a.json", lora=LORA)
    host.write("b.json", lora="XL\\" + LORA)
    host.write("c.json", lora="nowhere_at_all.safetensors")
    host.write("ready.json")
    found = {one["filename"]: one for one in results(host, "--all")}
    assert {name: one["status"] for name, one in found.items()} == {
        LORA: "FOUND",
        "XL\\" + LORA: "FOUND",
        "nowhere_at_all.safetensors": "UNCERTAIN",
    }
    assert found["nowhere_at_all.safetensors"]["doubt"] == "no_match_under_these_words"
    assert found[LORA]["type"] == "loras"
    assert found[LORA]["sha256"] == sha256_of(LORA).lower()
    assert found[LORA]["url"].startswith(made.civitai.url)


@pytest.mark.parametrize(("names", "code"), [((LORA,), 0), ((LORA, OTHER), 1), ((), 0)])
def test_exit_code_depends_on_missing_results(
    host: Host, made: SearchServers, names: tuple[str, ...], code: int
) -> None:
    made.civitai.models = [on_civitai(LORA)]
    host.write("ready.json")
    for name in names:
        host.write(f"{name}.json", lora=name)
    ended = host.invoke("resolve", host.workflows)
    assert ended.exit_code == code, ended.output
    assert ("No model is missing." in ended.output) is (not names)


def test_declarations_and_notes_of_the_workflow_come_first(host: Host, made: SearchServers) -> None:
    made.hugging_face.repos = {"a/b": Repo({f"x/{LORA}": FILE}), "c/d": Repo({OTHER: FILE})}
    base = made.hugging_face.url
    declaring = json.loads(graph(lora=LORA))
    url = f"{base}/a/b/resolve/main/x/{LORA}?download=true"
    declaring["models"] = [{"name": LORA, "url": url, "directory": "loras"}]
    host.write("declares.json", json.dumps(declaring).encode())
    noting = json.loads(graph(lora=OTHER))
    text = f"Get it [here]({base}/c/d/blob/main/{OTHER})."
    noting["nodes"].append({"id": 90, "type": "Note", "widgets_values": [text], "pos": [0, 0], "mode": 0})
    host.write("notes.json", json.dumps(noting).encode())
    found = {one["filename"]: one for one in results(host, "--all")}
    assert [found[name]["source"] for name in (LORA, OTHER)] == ["huggingface", "huggingface"]
    assert made.civitai.asked == []


def test_catalogues_come_after_the_workflow(host: Host, made: SearchServers) -> None:
    made.hugging_face.repos = {"a/b": Repo({LORA: FILE})}
    entry = {"filename": LORA, "url": f"{made.hugging_face.url}/a/b/resolve/main/{LORA}", "save_path": "loras"}
    manager = host.comfyui / "custom_nodes" / "ComfyUI-Manager"
    put(manager / "model-list.json", json.dumps({"models": [entry]}).encode())
    host.write("a.json", lora=LORA)
    (found,) = results(host, "--all")
    assert (found["status"], found["source"]) == ("FOUND", "huggingface")
    assert "ComfyUI-Manager" in found["candidates"][0]["proposed_by"]


@pytest.mark.slow
def test_identical_local_file_is_noted(host: Host, made: SearchServers) -> None:
    content = safetensors(3)
    host.model("vae/renamed.safetensors", content)
    host.cycle()
    declaring = json.loads(graph(lora=LORA))
    declared = {"name": LORA, "url": f"{made.hugging_face.url}/a/b/resolve/main/{LORA}", "hash_type": "SHA256"}
    declaring["models"] = [{**declared, "hash": sha256_of(content), "directory": "loras"}]
    host.write("a.json", json.dumps(declaring).encode())
    (found,) = results(host, "--all")
    assert "vae/renamed.safetensors" in found["evidence"][0]


@pytest.mark.slow
def test_result_is_stored_until_refresh(host: Host, made: SearchServers) -> None:
    host.write("a.json", lora=LORA)
    assert results(host, "--all")[0]["doubt"] == "no_match_under_these_words"
    made.civitai.models = [on_civitai(LORA)]
    assert results(host, "--all")[0]["doubt"] == "no_match_under_these_words"
    assert results(host, "--all", "--refresh")[0]["status"] == "FOUND"


@pytest.mark.slow
def test_backends_option_selects_backends(host: Host, made: SearchServers) -> None:
    made.hugging_face.repos = {"a/detail": Repo({LORA: FILE})}
    host.write("a.json", lora=LORA)
    assert results(host, "--all")[0]["doubt"] == "no_match_under_these_words"
    assert results(host, "--all", "--backends", "huggingface, civitai")[0]["status"] == "FOUND"
    unknown = host.invoke("resolve", "--all", "--backends", "google")
    assert unknown.exit_code == 2
    assert "Unknown backend 'google'. Choose from qwen" in unknown.output


@pytest.mark.slow
def test_not_found_is_shown_with_its_proof(host: Host, made: SearchServers) -> None:
    made.hugging_face.repos = {"a/b": Repo({"x/another.safetensors": FILE})}
    declaring = json.loads(graph(lora=LORA))
    url = f"{made.hugging_face.url}/a/b/resolve/main/x/{LORA}"
    declaring["models"] = [{"name": LORA, "url": url, "directory": "loras"}]
    host.write("a.json", json.dumps(declaring).encode())
    (found,) = results(host, "--all")
    assert found["status"] == "NOT_FOUND"
    proof = {"type": "listing", "source": "huggingface", "place": "a/b", "names": [LORA], "files": 1}
    assert found["absence"] == [{**proof, "revisions": ["main"]}]
    shown = host.invoke("resolve", "--all").output
    assert "The workflow declares a/b on Hugging Face, which has no file of this name at main." in shown


@pytest.mark.slow
def test_doubts_are_kept_apart_in_the_table(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(LORA), on_civitai(LORA)]
    made.civitai.models[0]["modelVersions"][0]["files"][0]["hashes"]["SHA256"] = "B" * 64
    for name in (LORA, "nowhere_at_all.safetensors", "ae.safetensors"):
        host.write(f"{name}.json", lora=name)
    shown = host.invoke("resolve", "--all").output
    assert "nowhere_at_all.safetensors: UNCERTAIN, not found under these words" in shown
    assert "ae.safetensors: UNCERTAIN, not searched: the name gives no words to search for" in shown
    assert f"{LORA}: UNCERTAIN, candidates to choose from" in shown


@pytest.mark.slow
def test_candidates_are_numbered_and_a_choice_lasts(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(OTHER, "detail_other.safetensors")]
    host.write("a.json", lora=LORA)
    with ChatServer(picks(1, 2)) as llm:
        host.set(llm__driver="openai", llm__base_url=llm.base_url)
        shown = host.invoke("resolve", host.workflows / "a.json")
    assert shown.exit_code == 1
    (version,) = made.civitai.models[0]["modelVersions"]
    model, file = made.civitai.models[0]["id"], version["files"][0]
    name = f"civitai:{model}/{version['id']}/{file['id']}"
    assert f"1. {name}  {OTHER}" in shown.output
    assert "tweaker ≠ slider" in shown.output
    assert f"--choose {LORA} NUMBER" in shown.output
    chosen = host.invoke("resolve", "--choose", LORA, name)
    assert chosen.output == f"From now on {LORA} is {name} ({OTHER}).\n"
    (found,) = results(host, "--all", "--refresh")
    assert (found["status"], found["confidence"], found["sha256"]) == ("FOUND", "chosen", sha256_of(OTHER).lower())
    again = json.loads(host.invoke("resolve", "--choose", f"loras/{LORA}", "2", "--json").stdout)
    assert again["decision"]["candidate"]["name"] == "detail_other.safetensors"


@pytest.mark.slow
def test_configured_qwen_program_is_used(host: Host, made: SearchServers) -> None:
    made.civitai.models = [on_civitai(OTHER)]
    host.write("a.json", lora=LORA)
    answer = json.dumps({"type": "result", "is_error": False, "structured_result": json.loads(picks(1))})
    program = put(host.folder / "qwen", f"#!{sys.executable}\nprint({answer!r})\n".encode())
    program.chmod(0o755)
    host.set(llm__driver="qwen-cli", llm__command=program, llm__model="qwen-max")
    (found,) = results(host, "--all")
    assert found["status"] == "UNCERTAIN"
    assert found["candidates"][0]["name"] == OTHER
    assert any("qwen-max (qwen command line) was shown" in line for line in found["evidence"])
    host.set(llm__command=host.folder / "nowhere")
    (found,) = results(host, "--all", "--refresh")
    assert found["status"] == "ERROR"
    assert any("nowhere could not be started" in line for line in found["evidence"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give workflows or models, or --all"),
        (("--all", "--choose", "a", "1"), "--choose can be combined with --json only"),
        (("--all", "a.json"), "Give workflows or models, or --all"),
    ],
)
def test_contradicting_options_are_refused(host: Host, arguments: tuple[str, ...], words: str) -> None:
    ended = host.invoke("resolve", *arguments)
    assert ended.exit_code == 2
    assert words in ended.output


def test_all_excludes_workflows(host: Host) -> None:
    assert host.invoke("resolve", "--all", host.write("a.json")).exit_code == 2


@pytest.mark.slow
def test_choice_without_search_shows_the_next_step(host: Host) -> None:
    ended = host.program("resolve", "--choose", LORA, "1")
    assert ended.returncode == 1
    assert b"choice-impossible" in ended.stderr
    assert f"comfywatchman --home {host.home} resolve --all" in ended.stderr.decode()


@pytest.mark.slow
def test_corrupt_choices_are_set_aside(host: Host) -> None:
    put(host.layout.decisions, b"{broken")
    host.write("a.json", lora=LORA)
    ended = host.invoke("resolve", "--all")
    assert ended.exit_code == 1
    assert "was damaged" in ended.stderr
    assert not host.layout.decisions.exists()


def test_unreadable_file_is_a_problem(host: Host) -> None:
    host.workflows.joinpath("gone.json").symlink_to("/nowhere")
    host.write("ready.json")
    assert "Problem: " in host.invoke("resolve", host.workflows).stderr


@pytest.mark.slow
def test_resolve_needs_a_comfyui(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("a.json")
    host.variables.pop("COMFYUI_ROOT")
    host.comfyui.rename(tmp_path / "elsewhere")
    ended = host.program("resolve", str(tmp_path / "elsewhere" / "user"))
    assert ended.returncode == 1
    assert b"comfyui-not-found" in ended.stderr


def test_control_characters_are_escaped(host: Host, made: SearchServers) -> None:
    host.write("a.json", lora="a\x1b[31m.safetensors")
    made.civitai.models = [on_civitai("x\x1b[2J.safetensors")]
    ended = host.invoke("resolve", "--all")
    assert "\x1b" not in ended.output


@pytest.mark.slow
def test_keys_are_neither_shown_nor_stored(host: Host, made: SearchServers) -> None:
    for name in ("civitai_api_key", "hf_token", "llm_api_key", "tavily_api_key"):
        host.set(**{f"secrets__{name}": "canary-key"})
    made.civitai.models = [on_civitai(OTHER)]
    host.write("a.json", lora=LORA)
    with ChatServer(picks(1)) as llm:
        host.set(llm__driver="openai", llm__base_url=llm.base_url)
        ended = host.program("resolve", "--all", "--json")
        assert "canary" not in json.dumps(llm.chats)
    assert made.civitai.asked[0].headers["authorization"] == "Bearer canary-key"
    assert b"canary" not in ended.stdout + ended.stderr
    kept = [path.read_bytes() for path in host.home.rglob("*") if path.is_file()]
    assert kept
    assert not [content for content in kept if b"canary" in content]


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal(host: Host) -> None:
    host.write("a.json", lora=LORA)
    master, slave = os.openpty()
    ended = subprocess.run(
        host.command("resolve", "--all"),
        cwd=host.folder,
        env={**host.measured(), "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        timeout=100,
        check=False,
    )
    os.close(slave)
    shown = os.read(master, 1 << 16)
    os.close(master)
    assert ended.returncode == 1
    assert b"Searching for missing models" in shown
    assert b"Looking for" not in ended.stdout


@pytest.mark.slow
def test_unreachable_site_is_reported_once(host: Host) -> None:
    with HuggingFaceServer() as gone:
        pass
    host.set(search__huggingface_url=gone.url, search__backend_order=["civitai"])
    for number in range(4):
        name = f"lora_number_{number}.safetensors"
        declaring = json.loads(graph(lora=name))
        url = f"https://huggingface.co/owner/repo/resolve/main/{name}"
        declaring["models"] = [{"name": name, "url": url, "directory": "loras"}]
        host.write(f"{number}.json", json.dumps(declaring).encode())
    ended = host.invoke("resolve", "--all")
    assert ended.exit_code == 1
    (told,) = [line for line in ended.output.splitlines() if "did not answer" in line]
    said = "Hugging Face did not answer, so 4 models were not verified there"
    assert told.startswith(f"Problem: {said} ({gone.url.removeprefix('http://')} did not answer: ")
    kept = f"lora_number_2.safetensors · not verified · {gone.url}/owner/repo/resolve/main/lora_number_2.safetensors"
    assert f"  1. huggingface:owner/repo/lora_number_2.safetensors  {kept}" in ended.stdout.splitlines()
    host.set(search__budget_seconds=60)
    report = host.report_after_cycle()
    assert [one for one in report["problems"] if "did not answer" in one] == [f"{said}."]
    (model,) = report["workflows"][0]["missing_models"]
    assert model["fix"].startswith("The search got no response from Hugging Face; the search is repeated after ")
    assert (model["answer"], model["candidates"][0]["reason"]) == ("ERROR", "not verified")


@pytest.mark.slow
def test_site_that_did_not_answer_is_the_first_cause(host: Host) -> None:
    with HuggingFaceServer() as gone:
        pass
    host.set(search__huggingface_url=gone.url, search__backend_order=["qwen", "huggingface"])
    host.write("a.json", lora=LORA)
    lines = host.invoke("resolve", "--all").output.splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith(f"{LORA}: "))
    assert lines[heading + 1] == "  Hugging Face did not answer."
    assert lines[heading + 2].startswith("  qwen: no language model")
    assert lines.count("  Hugging Face did not answer.") == 1
