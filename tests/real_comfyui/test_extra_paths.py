"""ComfyUI's own loader of extra_model_paths.yaml refuses the files that we call broken, and adds the same folders."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.comfyui.install.extra_paths import read_extra_paths
from scripts.real_comfyui import Installed, start
from tests.comfyui.install.extra_paths_cases import ACCEPTED, REFUSED
from tests.model_files import put

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

MUTANTS = 2000
INSERTED = (b"\t", b" ", b"\n", b"\r\n", b":", b"- ", b"#", b"'", b'"', b"|", b"{", b"}", b"[", b"]", b"&a ", b"*a")

LOADER = """
import json, sys, types
folders = types.ModuleType("folder_paths")
calls = []
folders.add_model_folder_path = lambda name, path, default=False: calls.append((name, path, bool(default)))
sys.modules["folder_paths"] = folders
sys.path.insert(0, sys.argv[1])
from utils.extra_config import load_extra_path_config
results = []
for content in json.load(sys.stdin):
    calls.clear()
    with open(sys.argv[2], "wb") as stream:
        stream.write(bytes.fromhex(content))
    try:
        load_extra_path_config(sys.argv[2])
    except Exception:
        results.append(None)
    else:
        results.append([call for call in calls if isinstance(call[0], str)])
json.dump(results, sys.stdout)
"""


def run_loader(installed: Installed, path: Path, contents: list[bytes]) -> list[Any]:
    """Return the folders that ComfyUI's loader adds for each content; None where it raises."""
    done = subprocess.run(
        [installed.python, "-c", LOADER, str(installed.tree), str(path)],
        input=json.dumps([content.hex() for content in contents]),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    results: list[Any] = json.loads(done.stdout)
    return results


def read_ours(path: Path, content: bytes) -> list[list[Any]] | None:
    result = read_extra_paths(put(path, content))
    if not isinstance(result, tuple):
        return None
    return [[entry.folder, str(entry.directory), entry.is_default] for entry in result]


def normalise(result: list[list[Any]] | None) -> list[list[Any]] | None:
    return result and [[name, os.path.normpath(path), is_default] for name, path, is_default in result]


def mutate(choice: random.Random, seed: bytes) -> bytes:
    content = bytearray(seed)
    for _ in range(choice.randint(1, 4)):
        place = choice.randrange(len(content) + 1)
        match choice.randint(0, 3):
            case 0:
                del content[place : place + choice.randint(1, 6)]
            case 1:
                content[place:place] = choice.choice(INSERTED)
            case 2:
                content[place : place + 1] = bytes([choice.randrange(256)])
            case _:
                content[place:place] = content[place // 2 : place // 2 + choice.randint(1, 20)]
    return bytes(content)


def test_the_same_files_are_refused_and_the_same_folders_added(
    real_comfyui_installed: Installed, tmp_path: Path
) -> None:
    seeds = [content for content, _line in REFUSED.values() if len(content) < 200]
    seeds += [content for content, _folders in ACCEPTED.values()]
    choice = random.Random(8)  # noqa: S311 - the same mutants each time
    contents = seeds + [mutate(choice, choice.choice(seeds)) for _ in range(MUTANTS)]
    path = tmp_path / "extra.yaml"
    theirs = run_loader(real_comfyui_installed, path, contents)
    differing = []
    for content, expected in zip(contents, theirs, strict=True):
        if normalise(expected) != read_ours(path, content):
            differing.append((content, expected))
    assert differing == []
    assert theirs[: len(REFUSED) - 1] == [None] * (len(REFUSED) - 1)


@pytest.mark.parametrize("named", ["nope", "file"])
def test_comfyui_exits_for_a_folder_of_packs_that_it_cannot_list(
    real_comfyui_installed: Installed, tmp_path: Path, named: str
) -> None:
    put(tmp_path / "file", b"")
    path = put(tmp_path / "extra.yaml", f"x:\n  base_path: {tmp_path}\n  custom_nodes: {named}\n".encode())
    with pytest.raises(RuntimeError, match=r"NotADirectoryError|FileNotFoundError"):
        start(real_comfyui_installed, tmp_path / "base", arguments=[f"--extra-model-paths-config={path}"]).stop()
