from __future__ import annotations

import base64
from pathlib import Path

import pytest

from comfywatchman.app.prompt_requests import FinishedPrompt, OutputText
from comfywatchman.base.errors import Failure
from comfywatchman.handler.request import OutputMode
from comfywatchman.handler.result import (
    INLINE_BYTES,
    MAX_INLINE_BYTES,
    check_run,
    choose_place,
    describe_failure,
    describe_outputs,
    guess_type,
)
from comfywatchman.jobs.execution.outputs import SavedFile
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, StopCause


def make_file(size_bytes: int = 3, source: str = "made.png") -> SavedFile:
    return SavedFile("output.png", size_bytes, "0" * 64, "2", "images", source)


INLINE, FILE, GCS = OutputMode.BASE64, OutputMode.FILE, OutputMode.GCS
LARGE = INLINE_BYTES // 4 * 3 + 1


@pytest.mark.parametrize(
    ("mode", "file", "has_folder", "has_store", "place"),
    [
        (OutputMode.AUTO, make_file(), False, False, INLINE),
        (OutputMode.AUTO, make_file(), True, True, INLINE),
        (OutputMode.AUTO, make_file(LARGE - 1), True, False, INLINE),
        (OutputMode.AUTO, make_file(LARGE), True, False, FILE),
        (OutputMode.AUTO, make_file(LARGE), True, True, GCS),
        (OutputMode.AUTO, make_file(LARGE), False, True, GCS),
        (OutputMode.AUTO, make_file(source="made.mp4"), True, False, FILE),
        (OutputMode.AUTO, make_file(source="made.mp4"), False, False, INLINE),
        (INLINE, make_file(INLINE_BYTES), True, True, INLINE),
        (FILE, make_file(), True, True, FILE),
        (GCS, make_file(), True, True, GCS),
    ],
)
def test_place_of_outputs_depends_on_mode_size_and_kind(
    mode: OutputMode, file: SavedFile, place: OutputMode, *, has_folder: bool, has_store: bool
) -> None:
    assert choose_place(mode, [file], has_folder=has_folder, has_store=has_store) is place


@pytest.mark.parametrize(
    ("mode", "size_bytes", "code"),
    [
        (OutputMode.AUTO, INLINE_BYTES, "handler-outputs-too-large"),
        (INLINE, MAX_INLINE_BYTES, "handler-outputs-too-large"),
        (FILE, 1, "handler-request-invalid"),
        (GCS, 1, "handler-request-invalid"),
    ],
)
def test_outputs_without_a_place_are_refused(mode: OutputMode, size_bytes: int, code: str) -> None:
    with pytest.raises(Failure) as raised:
        choose_place(mode, [make_file(size_bytes)], has_folder=False, has_store=False)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (PromptRun(RunEnd.REFUSED, "id", "no"), "handler-prompt-refused"),
        (PromptRun(RunEnd.FAILED, "id"), "handler-prompt-failed"),
        (PromptRun(RunEnd.INTERRUPTED, "id"), "handler-cancelled"),
        (PromptRun(RunEnd.SERVER_ERROR, "id"), "handler-server-lost"),
        (PromptRun(RunEnd.RESTARTED, "id"), "handler-server-lost"),
        (PromptRun(RunEnd.AWAY, "id"), "handler-server-lost"),
        (PromptRun(RunEnd.STALLED, "id"), "handler-server-lost"),
        (PromptRun(RunEnd.STOPPED, "id", stop=StopCause.DEADLINE), "handler-timeout"),
        (PromptRun(RunEnd.STOPPED, "id", stop=StopCause.CANCELLED), "handler-cancelled"),
        (PromptRun(RunEnd.SUCCESS, "id"), "handler-outputs-missing"),
    ],
)
def test_run_without_outputs_fails(run: PromptRun, code: str) -> None:
    with pytest.raises(Failure) as raised:
        check_run(FinishedPrompt(run))
    assert raised.value.code == code
    assert raised.value.facts["prompt_id"] == "id"
    assert not raised.value.message.endswith("..")


def test_each_end_but_success_is_a_failure() -> None:
    for end in set(RunEnd) - {RunEnd.SUCCESS}:
        with pytest.raises(Failure):
            check_run(FinishedPrompt(PromptRun(end, "id"), (make_file(),)))


def test_outputs_are_described(tmp_path: Path) -> None:
    (tmp_path / "output.png").write_bytes(b"abc")
    run = PromptRun(RunEnd.SUCCESS, "id")
    finished = FinishedPrompt(run, (make_file(source="sub/made.png"),), (OutputText("3", "a text"),))
    check_run(finished)
    image, text = describe_outputs(finished, tmp_path, OutputMode.BASE64)
    assert image == {
        "filename": "made.png",
        "node_id": "2",
        "kind": "images",
        "mime": "image/png",
        "size_bytes": 3,
        "sha256": "0" * 64,
        "type": "base64",
        "data": base64.b64encode(b"abc").decode(),
    }
    assert text == {"node_id": "3", "kind": "text", "mime": "text/plain", "type": "text", "data": "a text"}
    assert describe_outputs(finished, tmp_path, OutputMode.FILE)[0]["data"] == str(tmp_path / "output.png")


def test_failure_is_described() -> None:
    failure = Failure("handler-timeout", "Too late.", facts={"prompt_id": "id"})
    error = {"code": "handler-timeout", "message": "Too late.", "hint": None, "prompt_id": "id"}
    assert describe_failure(failure) == {"status": "failed", "error": error}


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.PNG", "image/png"),
        ("a.webp", "image/webp"),
        ("a.mp4", "video/mp4"),
        ("a.flac", "audio/flac"),
        ("a.glb", "model/gltf-binary"),
        ("a", "application/octet-stream"),
        ("a.latent", "application/octet-stream"),
    ],
)
def test_types_are_known_by_name(name: str, media_type: str) -> None:
    assert guess_type(name) == media_type
