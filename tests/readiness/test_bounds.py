"""What one hostile file may cost: memory and CPU of a whole cycle, measured in a child process.

The program keeps to 300 MB, and to 2 s CPU plus 0.05 s for each MB that it reads, on a machine of its own. The limits
here are wide: tests run under coverage on machines that are busy.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host

pytestmark = pytest.mark.slow

MAX_MEMORY_MB = 450
MAX_CPU_SECONDS = 60.0
MAX_REPORT_MB = 12


@dataclass(frozen=True)
class Cost:
    """What a cycle cost, and its entry in the report."""

    cpu_seconds: float
    memory_mb: float
    report_mb: float
    entry: dict[str, Any]


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


def run_measured(host: Host) -> Cost:
    """Run one cycle as a child and measure it."""
    # A child of a small process: what the kernel reports as peak memory includes that of the process before `exec`.
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *host.command("--run-cycle")],
        cwd=host.folder,
        env=host.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    cpu_seconds, memory_kib = map(float, measured.stdout.splitlines()[-1].split())
    content = host.layout.status_json.read_bytes()
    workflows = json.loads(content)["workflows"]
    return Cost(
        cpu_seconds,
        memory_kib / 1024,
        len(content) / 1e6,
        workflows[0] if workflows else {},
    )


@pytest.fixture(scope="module")
def slowness(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Return how many times more CPU an ordinary cycle costs here than the 0.6 s on the machine of the limits."""
    seconds = []
    for number in range(3):
        host = Host(tmp_path_factory.mktemp(f"ordinary{number}"))
        host.write("a.json")
        seconds.append(run_measured(host).cpu_seconds)
    return max(1.0, min(seconds) / 0.6)


def build_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def build_picture(keyword: bytes) -> bytes:
    packed = keyword + b"\0\0" + zlib.compress(bytes(16 << 20), 9)
    header = build_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    chunks = b"".join(build_chunk(b"zTXt", packed) for _ in range(400))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + build_chunk(b"IEND", b"")


def build_loaders(count: int) -> bytes:
    nodes = [{"id": n, "type": "LoraLoader", "widgets_values": [f"m{n}.safetensors", 1, 1]} for n in range(count)]
    return json.dumps({"nodes": nodes, "links": [], "version": 0.4}).encode()


def build_prompt() -> bytes:
    return json.dumps({str(n): {"class_type": "X", "inputs": {}} for n in range(100_000)}).encode()


def build_bomb() -> bytes:
    graphs = []
    for level in range(20):
        inner = f"s{level + 1}" if level < 19 else "Leaf"
        nodes = [{"id": 1, "type": inner}, {"id": 2, "type": inner}]
        graphs.append({"id": f"s{level}", "nodes": nodes, "links": [], "inputs": [], "outputs": []})
    first = [{"id": 1, "type": "s0"}]
    return json.dumps({"nodes": first, "links": [], "definitions": {"subgraphs": graphs}}).encode()


def build_keys() -> bytes:
    return ("{" + ",".join(f'"k{n}":0' for n in range(990_000)) + "}").encode()


def build_floats() -> bytes:
    return ('{"nodes":[' + ",".join(f"{n}.5" for n in range(990_000)) + "]}").encode()


INPUTS: dict[str, Callable[[], bytes]] = {
    "ones.json": lambda: b'{"nodes":[' + b"1," * 100_000 + b"1]}",
    "more-ones.json": lambda: b'{"nodes":[{"id":1,"type":"A"},' + b"1," * 9000 + b"1]}",
    "loaders.json": lambda: build_loaders(45_000),
    "some-loaders.json": lambda: build_loaders(2000),
    "prompt.json": build_prompt,
    "bomb.json": build_bomb,
    "keys.json": build_keys,
    "floats.json": build_floats,
    "latin.json": lambda: b'{"nodes":["' + b"\xff" * (20 << 20) + b'"]}',
    "surrogates.json": lambda: b'{"nodes":["' + b"\\ud800" * (3 << 20) + b'"]}',
    "deep.json": lambda: b"[" * 2_000_000,
    "texts.png": lambda: build_picture(b"note"),
    "workflows.png": lambda: build_picture(b"workflow"),
    "metadata.svg": lambda: b"<svg>" + b"<metadata" * 1_000_000 + b"</metadata>",
}


@pytest.mark.parametrize("name", INPUTS)
def test_hostile_file_costs_a_bounded_cycle(tmp_path: Path, slowness: float, name: str) -> None:
    host = Host(tmp_path, models__hash_budget_seconds=0)
    host.write(name, INPUTS[name]())
    cost = run_measured(host)
    print(f"{name}: {cost.cpu_seconds:.1f} s CPU, {cost.memory_mb:.0f} MB, report {cost.report_mb:.1f} MB")  # noqa: T201
    assert cost.memory_mb < MAX_MEMORY_MB
    assert cost.cpu_seconds < MAX_CPU_SECONDS * slowness
    assert cost.report_mb < MAX_REPORT_MB


def build_shared_lists() -> dict[str, str]:
    values = ",".join(f"'v{number}'" for number in range(20_000))
    inputs = "{'required': {'a': (X,), 'b': (X + X,), 'c': (sorted(X),)}}"
    body = f"    @classmethod\n    def INPUT_TYPES(cls): return {inputs}\n"
    classes = "".join(f"class C{number}:\n{body}" for number in range(500))
    mapping = ",".join(f"'C{number}': C{number}" for number in range(500))
    return {"__init__.py": f"X = [{values}]\n{classes}NODE_CLASS_MAPPINGS = {{{mapping}}}\n"}


def build_rows() -> dict[str, str]:
    modules = {f"m{number}.py": f"from .m{number + 1} import *\n" for number in range(1500)}
    return {"__init__.py": "from .m0 import *\nNODE_CLASS_MAPPINGS = {}\n", **modules}


def build_stars() -> dict[str, str]:
    lines = "from .a{0} import *\nfrom .b{0} import *\nother{0}\n"
    modules = {f"{name}{number}.py": lines.format(number + 1) for name in "ab" for number in range(60)}
    return {"__init__.py": "from .a0 import *\nfrom .a0 import other\nNODE_CLASS_MAPPINGS = {}\n", **modules}


PACKS: dict[str, Callable[[], dict[str, str]]] = {
    "shared lists": build_shared_lists,
    "modules in a row": build_rows,
    "stars that multiply": build_stars,
    "long key": lambda: {"__init__.py": "", "pyproject.toml": "a" + ".a" * 60_000 + " = 1"},
    "long number": lambda: {"__init__.py": "", "pyproject.toml": "a = " + "9" * 900_000},
    "deep list": lambda: {"__init__.py": "", "pyproject.toml": "a = " + "[" * 900_000},
}


@pytest.mark.parametrize("kind", PACKS)
def test_hostile_node_pack_costs_a_bounded_cycle(tmp_path: Path, slowness: float, kind: str) -> None:
    host = Host(tmp_path)
    for name, text in PACKS[kind]().items():
        path = host.comfyui / "custom_nodes" / "hostile" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    host.write("real.json")
    cost = run_measured(host)
    print(f"{kind}: {cost.cpu_seconds:.1f} s CPU, {cost.memory_mb:.0f} MB, report {cost.report_mb:.1f} MB")  # noqa: T201
    assert cost.entry["status"] == "READY"
    assert cost.memory_mb < MAX_MEMORY_MB
    assert cost.cpu_seconds < MAX_CPU_SECONDS * slowness
    assert cost.report_mb < MAX_REPORT_MB


def test_sparse_file_is_not_read_to_its_end(tmp_path: Path, slowness: float) -> None:
    host = Host(tmp_path)
    path = host.write("sparse.json", b"{")
    os.truncate(path, 20 << 30)
    cost = run_measured(host)
    assert cost.entry["status"] == "INVALID"
    assert "larger than 64 MiB" in cost.entry["problems"][0]["message"]
    assert cost.cpu_seconds < 20 * slowness
    os.truncate(path, 21 << 30)
    before = cost.entry["sha256"]
    assert run_measured(host).entry["sha256"] != before, "another size is another file"


def test_long_numbers_in_extra_model_paths_cost_nothing(tmp_path: Path, slowness: float) -> None:
    host = Host(tmp_path)
    (host.comfyui / "extra_model_paths.yaml").write_text("a:\n  base_path: /x\n  loras: 1:" + "1:" * 45_000 + "1\n")
    assert run_measured(host).cpu_seconds < 30 * slowness
    (problem,) = host.report()["start_problems"]
    assert "longer than any real one" in problem["reason"]


def test_links_that_multiply_folders_end(tmp_path: Path, slowness: float) -> None:
    host = Host(tmp_path)
    folders = [host.workflows / f"d{number}" for number in range(9)]
    for folder in folders:
        folder.mkdir()
    # Each folder leads to all others: 9! ways through them.
    for folder in folders:
        for other in folders:
            if other != folder:
                (folder / other.name).symlink_to(other)
    host.write("real.json")
    cost = run_measured(host)
    assert cost.entry["path"].endswith("real.json")
    assert cost.cpu_seconds < 30 * slowness
    assert any("folders behind links" in problem for problem in host.report()["problems"])


def test_links_into_the_kernel_are_not_followed(tmp_path: Path, slowness: float) -> None:
    host = Host(tmp_path)
    for name in ("proc", "sys", "dev"):
        (host.workflows / name).symlink_to(f"/{name}")
    host.write("real.json")
    cost = run_measured(host)
    assert cost.entry["path"].endswith("real.json")
    assert cost.cpu_seconds < 30 * slowness


def test_search_for_two_thousand_models_is_bounded(tmp_path: Path, slowness: float) -> None:
    address = "http://127.0.0.1:9"
    search = {"civitai_url": address, "civitai_fallback_url": "", "budget_seconds": 3, "backend_order": ["civitai"]}
    host = Host(tmp_path, models__hash_budget_seconds=0, **{f"search__{key}": value for key, value in search.items()})
    host.write("loaders.json", build_loaders(2000))
    cost = run_measured(host)
    print(f"2,000 models: {cost.cpu_seconds:.1f} s CPU, {cost.memory_mb:.0f} MB")  # noqa: T201
    assert len(cost.entry["missing_models"]) == 2000
    assert cost.memory_mb < MAX_MEMORY_MB
    assert cost.cpu_seconds < MAX_CPU_SECONDS * slowness
