"""Malicious and broken files in one real cycle: no crash, one entry per file, and no injection into the report."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from markdown_it import MarkdownIt

from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.sample.workflows import build_sample_workflows
from comfywatchman.readiness.status import MasterStatus
from tests.hosts import Host, graph
from tests.model_files import put
from tests.mutation import mutated, repeatable

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
VERDICTS = {"READY", "MISSING", "UNCERTAIN", "INVALID"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def seeds_of_mutation(host: Host) -> list[bytes]:
    """Return workflows of every format: those of the sample, and the official templates when installed."""
    host.set(models__hash_budget_seconds=0)
    plain = [content for name, content in build_sample_workflows().items() if name.endswith(".json")]
    whole = [content for content in plain if is_json(content)]
    return [*whole, *(path.read_bytes() for path in sorted(templates())[::40])]


def is_json(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def templates() -> Iterator[Path]:
    from comfywatchman.readiness.sample.host import find_installed_templates

    folder = find_installed_templates()
    yield from folder.glob("*.json") if folder else ()


def write_mutations(host: Host, count: int, rng: random.Random) -> None:
    seeds = seeds_of_mutation(host)
    for n in range(count):
        host.write(f"{n % 100:02}/{n:05}.json", mutated(rng.choice(seeds), rng))


def check_mutations(host: Host, count: int) -> Counter[str]:
    write_mutations(host, count, repeatable(20261120))
    result = host.cycle()
    assert result.record.success
    assert (result.record.workflows, result.record.read) == (count, count)
    entries = host.report()["workflows"]
    assert len({entry["path"] for entry in entries}) == count
    for entry in entries:
        assert entry["status"] in VERDICTS
        if entry["status"] == "INVALID":
            assert entry["problems"], entry["path"]
            assert entry["problems"][0]["message"], entry["path"]
        else:
            assert entry["format"], entry["path"]
    assert host.cycle().record.read == 0, "what a bad file holds is remembered too"
    return Counter(entry["status"] for entry in entries)


@pytest.mark.slow
def test_thousand_mutated_workflows_get_a_verdict(host: Host) -> None:
    assert check_mutations(host, 1000)["INVALID"] > 50


@pytest.mark.torture
def test_ten_thousand_mutated_workflows_get_a_verdict(host: Host) -> None:
    verdicts = check_mutations(host, 10_000)
    print("10,000 mutated workflows:", dict(verdicts))  # noqa: T201 - a figure for whoever runs the torture suite
    assert verdicts["INVALID"] > 500


HOSTILE_NAMES = [
    b"new\nline.json",
    b"quo'te\".json",
    b"pipe|and`tick.json",
    b"\x1b[2J\x1b]0;title\x07.json",
    b"\xff\xfe.json",
    b"<img src=x onerror=alert(1)>.json",
    b"[link](https:evil).json",
    "\u202eright to left\u2028.json".encode(),
    b" leading and trailing .json",
    b"-rf.json",
    b"# heading.json",
    b"back\\slash.json",
    b"%s{{ 7*7 }}{% raw %}.json",
    b"x" * 240 + b".json",
]


def html_of(markdown: str) -> str:
    html: str = PARSER.render(markdown)
    return html


@pytest.mark.slow
def test_hostile_names_stay_inert_in_the_report(host: Host) -> None:
    for name in HOSTILE_NAMES:
        host.write(name, graph(lora=f"{os.fsdecode(name).encode('utf-8', 'replace').decode()}.safetensors"))
    status = host.status()
    assert status.summary.workflows == len(HOSTILE_NAMES)
    report = host.report()
    assert len({entry["path"] for entry in report["workflows"]}) == len(HOSTILE_NAMES)
    assert_inert(host.layout.status_markdown.read_text("utf-8"), len(HOSTILE_NAMES))
    assert host.cycle().record.read == 0
    for path in list(host.workflows.iterdir()):
        path.unlink()
    assert host.status().summary.workflows == 0
    assert Counter(entry.kind for entry in host.intake()) == {"new": len(HOSTILE_NAMES), "removed": len(HOSTILE_NAMES)}


def assert_inert(markdown: str, rows: int) -> None:
    """Check that the report contains no HTML tag, foreign link, extra table row or terminal escape."""
    assert not {c for c in markdown if not c.isprintable()} - {"\n"}
    html = html_of(markdown)
    assert "<img" not in html
    assert 'href="https:evil' not in html
    tables = [table.partition("</tbody>")[0].split("<tr>")[1:] for table in html.split("<tbody>")[1:]]
    assert [len(table) <= rows for table in tables] == [True, True], "a name adds no row"
    for table in tables:
        assert len({row.count("<td") for row in table}) == 1, "a pipe in a name makes no cell"
    headings = [line for line in markdown.splitlines() if line.startswith("# ")]
    assert len(headings) == 1
    assert "49" not in headings[0]


def test_hostile_workflow_texts_stay_inert_in_the_report(host: Host) -> None:
    evil = "<script>alert(1)</script>|\x1b[2J`x`\n# [a](javascript:alert(1))\u202e\ud800"
    content = json.dumps(json.loads(graph(lora="A", last="B"))).replace('"A"', json.dumps(evil))
    host.write("a.json", content.replace('"B"', json.dumps(evil)).encode())
    status = host.status()
    assert status.workflows[0].status != "READY"
    markdown = host.layout.status_markdown.read_text("utf-8")
    assert "<script" not in html_of(markdown)
    assert "javascript:" not in "".join(part.split('"')[0] for part in html_of(markdown).split('href="')[1:])
    assert "\x1b" not in markdown
    host.report()


def test_fifo_loop_device_and_socket_are_reported(host: Host) -> None:
    host.write("a.json")
    os.mkfifo(host.workflows / "pipe.json")
    os.mkfifo(host.workflows / "pipe.png")
    (host.workflows / "loop.json").symlink_to("loop.json")
    (host.workflows / "self").symlink_to(".")
    (host.workflows / "up").symlink_to("..")
    (host.workflows / "zero.json").symlink_to("/dev/zero")
    (host.workflows / "folder.json").mkdir()
    with tempfile.TemporaryDirectory(prefix="cw-") as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")  # the kernel takes no more than 107 bytes here
        shutil.move(f"{short}/s", host.workflows / "s.json")
        status = host.status()
    assert status.summary.workflows == 1
    problems = "\n".join(status.problems)
    for name in ("pipe.json", "pipe.png", "loop.json", "zero.json", "s.json", "up", "self"):
        assert name in problems, name
    host.report()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read folders of mode 000")
def test_unreadable_folder_and_file_are_reported(host: Host) -> None:
    host.write("a.json")
    closed = host.write("closed/b.json").parent
    locked = host.write("locked.json")
    host.cycle()
    closed.chmod(0)
    host.write("locked.json", lora="x.safetensors")
    locked.chmod(0)
    try:
        status = host.status()
    finally:
        closed.chmod(0o700)
    by_name = {Path(entry.path).name: entry for entry in status.workflows}
    assert by_name["a.json"].status == "READY"
    assert by_name["b.json"].status == by_name["locked.json"].status == "UNCERTAIN"
    assert "Permission denied" in by_name["locked.json"].problems[0].message
    assert status.summary.unknown_workflows == 2


def test_deeply_nested_file_is_invalid_with_a_reason(host: Host) -> None:
    host.write("list.json", b"[" * 100_000 + b"]" * 100_000)
    host.write("object.json", b'{"nodes":' * 100_000 + b"1" + b"}" * 100_000)
    host.write("open.json", b'{"a":[' * 100_000)
    host.write("extra.json", graph()[:-1] + b',"extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    status = host.status()
    assert {entry.status for entry in status.workflows} == {"INVALID"}
    assert all(entry.problems[0].message for entry in status.workflows)


@pytest.mark.slow
def test_file_of_200_mb_is_invalid_and_not_loaded(host: Host) -> None:
    path = host.workflows / "large.json"
    with path.open("wb") as stream:
        stream.write(b'{"nodes": [')
        for _ in range(200):
            stream.write(b'{"id": 1, "type": "KSampler"},'.ljust(1 << 20, b" "))
        stream.write(b"{}]}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entry = host.entry("large.json")
    assert (entry.status, entry.problems[0].code) == ("INVALID", "file-too-large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10, "KiB"
    assert host.cycle().record.read == 0


@pytest.mark.slow
def test_a_large_file_below_the_limit_is_read(host: Host) -> None:
    host.write("a.json", graph()[:-1] + b',"extra":"' + b"x" * (20 << 20) + b'"}')
    assert host.entry("a.json").status == "READY"


@pytest.mark.parametrize("suffix", ["png", "webp", "mp4", "webm", "flac", "mp3", "svg", "glb", "latent", "avif"])
@pytest.mark.slow
def test_invalid_media_file_is_handled(host: Host, suffix: str) -> None:
    rng = repeatable(7)
    for n, content in enumerate((b"", b"\x00", b"{}", graph(), rng.randbytes(5000))):
        host.write(f"{n}.{suffix}", content)
    result = host.cycle()
    assert result.record.success
    assert {entry["status"] for entry in host.report()["workflows"]} <= {"INVALID"}
    assert host.cycle().record.read == 0


@pytest.mark.slow
def test_hostile_packs_and_models_are_handled(host: Host) -> None:
    packs = host.comfyui / "custom_nodes"
    put(packs / "deep" / "__init__.py", b"NODE_CLASS_MAPPINGS = " + b"[" * 50_000)
    put(packs / "bytes" / "__init__.py", bytes(range(256)) * 100)
    put(packs / "nul.py", b"\x00" * 1000)
    (packs / "loop").symlink_to("loop")
    os.mkfifo(packs / "pipe.py")
    put(Path(os.fsdecode(os.fsencode(packs) + b"/\xff\x1b")) / "__init__.py", b"")
    (host.comfyui / "models" / "loras").mkdir()
    os.mkfifo(host.comfyui / "models" / "loras" / "pipe.safetensors")
    host.model("loras/empty.safetensors", b"")
    host.model("loras/header.safetensors", b"\xff" * 8 + b"{")
    host.model("loras/\udcff\x1b[2J|.safetensors")
    (host.comfyui / "models" / "loras" / "loop").symlink_to("..")
    host.write("a.json")
    status = host.status()
    assert status.summary.ready == 1
    host.report()
    assert "\x1b" not in host.layout.status_markdown.read_text("utf-8")
    again = host.cycle()
    assert again.record.success
    assert isinstance(again.status, MasterStatus)
    assert "\x1b" not in render_markdown(again.status)
