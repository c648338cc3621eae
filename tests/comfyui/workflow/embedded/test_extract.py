from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.workflow.embedded.extract import SUFFIXES, EmbeddedWorkflow, extract_workflow
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.samples import BROKEN, GREEDY, PLAIN, PROMPT, SAMPLES, WORKFLOW


def write(folder: Path, content: bytes, name: str = "sample") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def failure_of(path: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        extract_workflow(path)
    return caught.value


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_gives_its_workflow_and_prompt(tmp_path: Path, name: str) -> None:
    container, content = SAMPLES[name]
    found = extract_workflow(write(tmp_path, content))
    assert found is not None
    assert found.container == container
    assert found.workflow is not None
    assert found.prompt is not None
    assert json.loads(found.workflow) == json.loads(WORKFLOW)
    assert json.loads(found.prompt) == json.loads(PROMPT)


@pytest.mark.parametrize("name", PLAIN)
def test_file_without_workflow_gives_none(tmp_path: Path, name: str) -> None:
    assert extract_workflow(write(tmp_path, PLAIN[name])) is None


def test_format_is_detected_by_content_not_by_suffix(tmp_path: Path) -> None:
    found = extract_workflow(write(tmp_path, SAMPLES["webp"][1], "misnamed.png"))
    assert found == EmbeddedWorkflow(container="webp", workflow=WORKFLOW, prompt=PROMPT)


def test_model_files_are_not_media() -> None:
    assert ".safetensors" not in SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def test_last_of_two_workflows_in_a_png_counts_as_in_the_editor(tmp_path: Path) -> None:
    first, prompt = b.text_chunk("workflow", b'{"nodes": []}'), b.text_chunk("prompt", PROMPT)
    for content in (
        b.png(first, prompt, b.text_chunk("workflow", WORKFLOW)),
        b.png(first, prompt, after_pixels=b.text_chunk("workflow", WORKFLOW)),
        b.png(b.text_chunk("workflow", WORKFLOW), prompt, b.text_chunk("Workflow", b'{"nodes": []}')),
    ):
        assert extract_workflow(write(tmp_path, content)) == EmbeddedWorkflow(
            container="png", workflow=WORKFLOW, prompt=PROMPT
        )


def test_first_of_two_workflows_elsewhere_counts(tmp_path: Path) -> None:
    found = extract_workflow(
        write(tmp_path, b.mp3(b.text_frame("workflow", '{"a":1}'), b.text_frame("workflow", '{"b":2}')))
    )
    assert found is not None
    assert found.workflow == b'{"a":1}'


def test_file_with_only_a_prompt(tmp_path: Path) -> None:
    found = extract_workflow(write(tmp_path, b.png(b.text_chunk("prompt", PROMPT))))
    assert found == EmbeddedWorkflow(container="png", workflow=None, prompt=PROMPT)


def test_latin_1_text_becomes_utf_8(tmp_path: Path) -> None:
    found = extract_workflow(write(tmp_path, b.png(b.text_chunk("workflow", b'{"title": "caf\xe9"}'))))
    assert found is not None
    assert found.workflow == '{"title": "café"}'.encode()


def test_file_truncated_behind_its_workflow_still_gives_it(tmp_path: Path) -> None:
    content = b.png(b.text_chunk("workflow", WORKFLOW))
    found = extract_workflow(write(tmp_path, content[:-20]))
    assert found == EmbeddedWorkflow(container="png", workflow=WORKFLOW, prompt=None)


def test_utf_16_user_comments_of_either_byte_order(tmp_path: Path) -> None:
    for codec in ("utf-16-be", "utf-16-le"):
        comment = b"UNICODE\0" + ("workflow:" + WORKFLOW.decode()).encode(codec)
        found = extract_workflow(write(tmp_path, b.jpeg(b.exif([], comment=comment))))
        assert found is not None
        assert found.workflow == WORKFLOW


def test_user_comment_without_a_character_set(tmp_path: Path) -> None:
    found = extract_workflow(write(tmp_path, b.jpeg(b.exif([], comment=b"workflow:" + WORKFLOW))))
    assert found is not None
    assert found.workflow == WORKFLOW


def test_id3_unsynchronisation_compression_and_extended_headers(tmp_path: Path) -> None:
    text = '{"a": "\u00ff\u0100"}'
    plain = b"\1" + "workflow\0".encode("utf-16") + text.encode("utf-16")
    unsync = plain.replace(b"\xff", b"\xff\0")
    packed = b.packed_chunk("", plain)[10:-4]
    size = len(plain).to_bytes(4)
    samples = [
        b.mp3(b.frame(b"TXXX", unsync, flags=b"\0\2")),
        b.mp3(b.frame(b"TXXX", b.synchsafe(len(plain)) + packed, flags=b"\0\x09")),
        b.mp3(b.frame(b"TXXX", unsync, version=3).replace(len(unsync).to_bytes(4), size), version=3, flags=0x80),
        b.mp3(b.frame(b"TXXX", size + packed, version=3, flags=b"\0\x80"), version=3),
        b.mp3(b"\0\0\0\6" + bytes(6), b.frame(b"TXXX", plain, version=3), version=3, flags=0x40),
        b.mp3(b"\0\0\0\6\1\0", b.frame(b"TXXX", plain), flags=0x40),
    ]
    for content in samples:
        found = extract_workflow(write(tmp_path, content))
        assert found is not None
        assert found.workflow == text.encode()


@pytest.mark.parametrize("name", BROKEN)
def test_damage_before_a_workflow_is_a_failure_that_fits_every_copy(tmp_path: Path, name: str) -> None:
    failure = failure_of(write(tmp_path, BROKEN[name], "damaged\nfile"))
    assert failure.code == "workflow-embedded-invalid"
    assert failure.message.startswith("No workflow can be read from the file: ")
    assert "damaged\\nfile" not in failure.message


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", GREEDY)
@pytest.mark.slow
def test_malicious_files_are_refused_in_bounded_time(tmp_path: Path, name: str) -> None:
    if name == "a cyclic exif":
        assert extract_workflow(write(tmp_path, GREEDY[name]())) is None
        return
    assert failure_of(write(tmp_path, GREEDY[name]())).code in {"workflow-embedded-invalid", "workflow-too-large"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a png bomb", "an ogg packet without end", "a long exif text", "a long svg"])
def test_malicious_files_are_refused_in_bounded_memory(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, GREEDY[name]())
    tracemalloc.start()
    try:
        assert failure_of(path).code == "workflow-embedded-invalid"
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()


def test_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert failure_of(tmp_path / "pipe.png").code == "file-not-regular"


def test_missing_file_is_unreadable(tmp_path: Path) -> None:
    assert failure_of(tmp_path / "absent.png").code == "file-unreadable"
