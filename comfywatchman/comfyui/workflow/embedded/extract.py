"""The workflow inside a media file, whatever the kind of file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular, printable_path
from comfywatchman.comfyui.workflow.embedded import ebml, id3, isobmff, jpeg, json_holders, png, riff, vorbis
from comfywatchman.comfyui.workflow.embedded.source import BrokenMediaError, EmbeddedTexts, MediaFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Reader = Callable[[MediaFile, EmbeddedTexts], None]

SUFFIXES: Final[frozenset[str]] = frozenset(
    {
        *(".png", ".webp", ".avif", ".jpg", ".jpeg", ".svg"),
        *(".mp4", ".mov", ".m4v", ".webm", ".mkv"),
        *(".flac", ".ogg", ".opus", ".mp3"),
        *(".glb", ".latent"),
    }
)
"""Lower-case suffixes of files in which ComfyUI or a common saver node leaves workflows."""

_HEAD_BYTES: Final = 4096
_MAX_SAFETENSORS_HEADER: Final = 100 << 20
_QUICKTIME_STARTS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


@dataclass(frozen=True, slots=True)
class EmbeddedWorkflow:
    """What a media file carries; at least one of the two texts.

    Attributes:
        container: The kind of file by its content: `png`, `webp`, `avif`, `jpeg`, `mp4`, `mov`, `webm`, `mkv`,
            `flac`, `ogg`, `mp3`, `svg`, `glb` or `latent`.
        workflow: JSON of the graph that the author saw; as it was stored, so it may be no JSON after all.
        prompt: JSON of what ran.
    """

    container: str
    workflow: bytes | None
    prompt: bytes | None


def extract_workflow(path: Path) -> EmbeddedWorkflow | None:
    """Return the workflow in a media file, or None when the file is sound and carries none.

    The kind is told by content, never by suffix, and only the parts that can hold metadata are read. A file that is
    damaged after its workflow still gives it.

    Raises:
        Failure: `file-unreadable`, `file-not-regular`, or `workflow-embedded-invalid` when the file is of no known
            kind, or is damaged or beyond the limits where a workflow could stand.
    """
    with open_regular(path) as descriptor:
        source = MediaFile(descriptor, os.fstat(descriptor).st_size)
        container, reader = _detect_format(source.peek(0, _HEAD_BYTES))
        if reader is None:
            raise _invalid_media_failure(path, "it is no media file of a kind that carries workflows")
        # The editor lets a later chunk of a PNG replace an earlier one (its `getFromPngBuffer`).
        texts = EmbeddedTexts(last_counts=reader is png.read)
        try:
            reader(source, texts)
        except BrokenMediaError as error:
            if texts.workflow is None:
                raise _invalid_media_failure(path, f"its {container} structure is damaged, {error}") from error
    if texts.workflow is None and texts.prompt is None:
        return None
    return EmbeddedWorkflow(container=container, workflow=texts.workflow, prompt=texts.prompt)


def _invalid_media_failure(path: Path, reason: str) -> Failure:
    return Failure(
        "workflow-embedded-invalid",
        f"{printable_path(path)} gives no workflow: {reason}.",
        hint="Save it again from ComfyUI, or take it out of the workflow folders.",
    )


def _detect_format(head: bytes) -> tuple[str, Reader | None]:
    """Tell the kind of a file by its first bytes, with its reader (None: unknown)."""
    for start, container, reader in _STARTS:
        if head.startswith(start):
            return container, reader
    if head[4:8] == b"ftyp":
        return _detect_box_format(head)
    if head[4:8] in _QUICKTIME_STARTS:
        return "mov", isobmff.read
    if head.startswith(b"RIFF"):
        return ("webp", riff.read) if head[8:12] == b"WEBP" else ("riff", _skip_file)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ("webm" if b"webm" in head[:64] else "mkv"), ebml.read
    return _detect_weak_signature(head)


def _detect_weak_signature(head: bytes) -> tuple[str, Reader | None]:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<") and b"<svg" in text:
        return "svg", json_holders.read_svg
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        return "latent", json_holders.read_safetensors
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:  # noqa: PLR2004 - MPEG frame sync
        return "mp3", _skip_file
    return "", None


def _detect_box_format(head: bytes) -> tuple[str, Reader]:
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), 128), 4))}
    if brands & isobmff.PICTURE_BRANDS:
        return "avif", isobmff.read_picture
    return ("mov" if head[8:12] == b"qt  " else "mp4"), isobmff.read


def _skip_file(_source: MediaFile, _texts: EmbeddedTexts) -> None:
    """Leave a sound file alone that has no place for a workflow."""


_STARTS: Final[tuple[tuple[bytes, str, Reader], ...]] = (
    (png.SIGNATURE, "png", png.read),
    (b"\xff\xd8\xff", "jpeg", jpeg.read),
    (b"fLaC", "flac", vorbis.read_flac),
    (b"OggS", "ogg", vorbis.read_ogg),
    (b"ID3", "mp3", id3.read),
    (b"glTF", "glb", json_holders.read_gltf),
    (b"GIF8", "gif", _skip_file),
)
