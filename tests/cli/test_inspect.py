from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from comfywatchman.cli.inspect import inspect
from tests.hosts import Host, tree
from tests.model_files import put, safetensors
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, file_json, model_json, version_json


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(inspect, [str(argument) for argument in arguments])


def facts(*arguments: str | Path) -> list[dict[str, Any]]:
    answer = json.loads(run(*arguments, "--json").stdout)
    assert answer["schema_version"] == 1
    files: list[dict[str, Any]] = answer["files"]
    return files


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, (f"touch {self.marker}",))


def test_whole_file_is_described(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", safetensors(3, metadata={"format": "pt"}))
    ended = run(path)
    assert ended.exit_code == 0
    assert "ok\t" in ended.output
    assert "3 tensors, 24 parameters; 3 x F16" in ended.output
    assert "format\tpt" in ended.output
    assert facts(path)[0]["header"]["dtypes"] == {"F16": 3}


def test_broken_file_exits_with_1(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", safetensors(3)[:-1])
    ended = run(path)
    assert ended.exit_code == 1
    assert "broken\t" in ended.output
    assert "cut off" in ended.output
    assert facts(path)[0]["problem_code"] == "truncated"


def test_missing_file_is_reported(tmp_path: Path) -> None:
    (found,) = facts(tmp_path / "gone.safetensors", "--hash")
    assert (found["size"], found["problem_code"], found["sha256"]) == (None, "unreadable", None)
    assert run(tmp_path / "gone.safetensors").exit_code == 1


def test_pickle_gives_a_warning_and_is_never_executed(tmp_path: Path) -> None:
    path = put(tmp_path / "a.ckpt", pickle.dumps(Payload(tmp_path / "PWN")))
    ended = run(path, "--hash")
    assert ended.exit_code == 0
    assert "a pickle can run code" in ended.output
    assert not (tmp_path / "PWN").exists()


def test_unknown_format_gives_a_warning(tmp_path: Path) -> None:
    (found,) = facts(put(tmp_path / "a.xyz", b"hello"))
    assert (found["format"], found["problem"]) == ("unknown", None)
    assert found["warnings"] == ["unknown format; nothing was checked"]


def test_hash_option_shows_hashes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", safetensors(3))
    (found,) = facts(path, "--hash")
    assert found["sha256"] == hashlib.sha256(safetensors(3)).hexdigest()
    assert found["autov2"] == found["sha256"][:10]
    assert f"AutoV3 {found['autov3']}" in run(path, "--hash").output


def test_file_that_cannot_be_hashed_gives_a_warning(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.safetensors")
    (found,) = facts(tmp_path / "fifo.safetensors", "--hash")
    assert found["problem_code"] == "not-regular"
    assert found["warnings"] == ["not hashed: not a regular file"]


def test_folder_stands_for_its_models(tmp_path: Path) -> None:
    put(tmp_path / "b.safetensors", safetensors())
    put(tmp_path / "a.txt", b"x")
    put(tmp_path / "sub/c.safetensors", safetensors())
    assert [Path(f["path"]).name for f in facts(tmp_path)] == ["b.safetensors"]
    assert [Path(f["path"]).name for f in facts(tmp_path, "--recursive")] == ["b.safetensors", "c.safetensors"]


def test_folder_without_models_is_reported(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.exit_code == 0
    assert "No model files found" in ended.output


def test_sizes_have_units(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for size, text in ((5, "5 B"), (5000, "5 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.00 GiB")):
        with path.open("wb") as stream:
            stream.truncate(size)
        assert f"\t{text}\t" in run(path).output


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    path = put(tmp_path / "a\x1b[31m\n.safetensors", safetensors())
    ended = run(path)
    assert "\x1b" not in ended.output
    assert "\\x1b" in ended.output


@pytest.fixture
def civitai() -> Iterator[CivitaiServer]:
    with CivitaiServer() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, civitai: CivitaiServer) -> Host:
    return Host(tmp_path, search__civitai_url=civitai.url, search__civitai_fallback_url="")


def on_civitai(name: str, content: bytes) -> dict[str, Any]:
    version = version_json([file_json("other.safetensors"), file_json(name, content=content)], baseModel="SD 1.5")
    return model_json("Detail Tweaker", [version], type="LORA")


def identified(host: Host, *paths: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.invoke("inspect", *paths, "--identify", "--json").stdout)
    return answer


def test_files_are_identified_with_one_request(host: Host, civitai: CivitaiServer) -> None:
    renamed = host.model("loras/renamed.safetensors", safetensors(3))
    kept = host.model("loras/kept.safetensors", safetensors(4))
    own = host.model("loras/own.safetensors", safetensors(5))
    civitai.models = [on_civitai("add_detail.safetensors", safetensors(3)), on_civitai(kept.name, safetensors(4))]
    before = tree(host.folder)
    ended = host.invoke("inspect", renamed, kept, own, "--identify")
    assert ended.exit_code == 0, ended.output
    pages = [f"{civitai.url}/models/{m['id']}?modelVersionId={m['modelVersions'][0]['id']}" for m in civitai.models]
    assert ended.stdout.splitlines()[-4:] == [
        "file\ton Civitai\ttype\tbase model\tname on Civitai\tpage",
        f"{renamed}\tDetail Tweaker / v1.0\tLORA\tSD 1.5\tadd_detail.safetensors\t{pages[0]}",
        f"{kept}\tDetail Tweaker / v1.0\tLORA\tSD 1.5\tthe same\t{pages[1]}",
        f"{own}\tunknown\t\t\t\t",
    ]
    assert [(asked.method, asked.path) for asked in civitai.asked] == [("POST", "/api/v1/model-versions/by-hash")]
    assert tree(host.folder) == before


def test_identities_are_printed_as_json(host: Host, civitai: CivitaiServer) -> None:
    path = host.model("loras/renamed.safetensors", safetensors(3))
    civitai.models = [on_civitai("add_detail.safetensors", safetensors(3))]
    answer = identified(host, path, host.model("loras/own.safetensors", safetensors(5)))
    known, unknown = answer["files"]
    assert (answer["problems"], unknown["civitai"], unknown["same_name"]) == ([], [], None)
    model = civitai.models[0]
    assert known["same_name"] is False
    assert known["civitai"] == [
        {
            "name": "add_detail.safetensors",
            "model": "Detail Tweaker",
            "version": "v1.0",
            "type": "LORA",
            "base_model": "SD 1.5",
            "page": f"{civitai.url}/models/{model['id']}?modelVersionId={model['modelVersions'][0]['id']}",
            "model_id": model["id"],
            "version_id": model["modelVersions"][0]["id"],
        }
    ]


def test_version_with_other_hashes_identifies_nothing(host: Host, civitai: CivitaiServer) -> None:
    path = host.model("loras/a.safetensors", safetensors(3))
    lie = on_civitai("add_detail.safetensors", safetensors(9))["modelVersions"]
    civitai.pages["/api/v1/model-versions/by-hash"] = Reply(json.dumps(lie).encode())
    (found,) = identified(host, path)["files"]
    assert found["civitai"] == []


def test_unreachable_civitai_leaves_files_unknown(host: Host) -> None:
    path = host.model("loras/a.safetensors", safetensors(3))
    with CivitaiServer() as gone:
        host.set(search__civitai_url=gone.url)
    ended = host.invoke("inspect", path, "--identify")
    assert ended.exit_code == 1
    assert f"{path}\tno answer\t" in ended.stdout
    assert "Problem: Not all files could be looked up on Civitai" in ended.stderr
    answer = identified(host, path)
    assert len(answer["problems"]) == 1
    assert answer["files"][0]["civitai"] is None


def test_file_that_cannot_be_hashed_is_not_looked_up(host: Host, civitai: CivitaiServer) -> None:
    ended = host.invoke("inspect", host.folder / "gone.safetensors", "--identify")
    assert "gone.safetensors\tnot hashed, so not looked up\t" in ended.stdout
    assert civitai.asked == []
