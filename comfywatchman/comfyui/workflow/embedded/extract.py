"""Extract the workflow from a media file of any kind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular
from comfywatchman.comfyui.workflow.embedded import (
    ebml,
    id3,
    isobmff,
    jpeg,
    json_containers,
    png,
    vorbis_comments,
    webp,
)
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError, EmbeddedTexts, MediaFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from comfywatchman.comfyui.workflow.budget import ReadingBudget

    Reader = Callable[[MediaFile, EmbeddedTexts], None]

SUFFIXES: Final[frozenset[str]] = frozenset(
    {
        *(".png", ".webp", ".avif", ".jpg", ".jpeg", ".svg"),
        *(".mp4", ".mov", ".m4v", ".webm", ".mkv"),
        *(".flac", ".ogg", ".opus", ".mp3"),
        *(".glb", ".latent"),
    }
)
"""Lower-case suffixes of files in which ComfyUI or a common saver node stores workflows."""

_HEAD_BYTES: Final = 4096
_MAX_SAFETENSORS_HEADER: Final = 100 << 20
_MAX_BRANDS_BYTES: Final = 128
_QUICKTIME_STARTS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_EBML: Final = b"\x1a\x45\xdf\xa3"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_MPEG_SYNC_BITS: Final = 0xFFE0


@dataclass(frozen=True, slots=True)
class EmbeddedWorkflow:
    """The texts in a media file; at least one of the two.

    Attributes:
        container: The kind of file by its content: `png`, `webp`, `avif`, `jpeg`, `mp4`, `mov`, `webm`, `mkv`,
            `flac`, `ogg`, `mp3`, `svg`, `glb` or `latent`.
        workflow: JSON of the graph in the editor, as stored; not parsed, so it may be invalid.
        prompt: JSON of the prompt that ran, as stored.
    """

    container: str
    workflow: bytes | None
    prompt: bytes | None


def extract_workflow(path: Path, budget: ReadingBudget | None = None) -> EmbeddedWorkflow | None:
    """Return the workflow in a media file, or None when the file is sound and has none.

    The kind is detected by content, never by suffix, and only the parts that can hold metadata are read. A file that
    is damaged behind its workflow still gives it.

    Args:
        path: The file.
        budget: What reading it may cost; a new one when None.

    Raises:
        Failure: `file-unreadable`, `file-not-regular`, `workflow-too-large`, or `workflow-embedded-invalid` when the
            file is of an unknown kind, or is damaged or beyond the limits where a workflow could be.
    """
    with open_regular(path) as descriptor:
        media = MediaFile(descriptor, os.fstat(descriptor).st_size, budget)
        container, reader = _detect_format(media.peek(0, _HEAD_BYTES))
        if reader is None:
            raise _invalid_media_failure("it is not a media file of a kind that carries workflows")
        # The editor lets a later chunk of a PNG replace an earlier one (its `getFromPngBuffer`).
        texts = EmbeddedTexts(last_counts=reader is png.read)
        try:
            reader(media, texts)
        except BrokenMediaError as error:
            if texts.workflow is None:
                raise _invalid_media_failure(f"its {container} structure is damaged: {error}") from error
    if texts.workflow is None and texts.prompt is None:
        return None
    return EmbeddedWorkflow(container=container, workflow=texts.workflow, prompt=texts.prompt)


def _invalid_media_failure(reason: str) -> Failure:
    return Failure(
        "workflow-embedded-invalid",
        f"No workflow can be read from the file: {reason}.",
        hint="Save it again from ComfyUI, or move it out of the workflow folders.",
    )


def _detect_format(head: bytes) -> tuple[str, Reader | None]:
    """Return the kind of a file by its first bytes, and its reader (None: unknown kind)."""
    for start, container, reader in _SIGNATURES:
        if head.startswith(start):
            return container, reader
    if head[4:8] == b"ftyp":
        return _detect_box_format(head)
    if head[4:8] in _QUICKTIME_STARTS:
        # Old QuickTime files begin without a file type box.
        return "mov", isobmff.read
    if head.startswith(b"RIFF"):
        is_webp = head[8:12] == b"WEBP"
        return ("webp", webp.read) if is_webp else ("riff", _skip_file)
    if head.startswith(_EBML):
        return "webm" if b"webm" in head[:64] else "mkv", ebml.read
    return _detect_weak_signature(head)


def _detect_weak_signature(head: bytes) -> tuple[str, Reader | None]:
    """Detect kinds whose first bytes could be those of other files too."""
    text = head.removeprefix(_UTF8_MARK).lstrip()
    if text.startswith(b"<") and b"<svg" in text:
        return "svg", json_containers.read_svg
    header_bytes = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_bytes <= _MAX_SAFETENSORS_HEADER:
        return "latent", json_containers.read_safetensors
    if len(head) > 1 and int.from_bytes(head[:2]) & _MPEG_SYNC_BITS == _MPEG_SYNC_BITS:
        # An MP3 file without an ID3 tag starts with an audio frame.
        return "mp3", _skip_file
    return "", None


def _detect_box_format(head: bytes) -> tuple[str, Reader]:
    """Tell pictures and videos apart by the brands of the `ftyp` box."""
    major_brand = head[8:12]
    brands = {major_brand}
    # The compatible brands follow the minor version.
    brands_end = min(int.from_bytes(head[:4]), _MAX_BRANDS_BYTES)
    brands.update(head[offset : offset + 4] for offset in range(16, brands_end, 4))
    if brands & isobmff.PICTURE_BRANDS:
        return "avif", isobmff.read_picture
    return "mov" if major_brand == b"qt  " else "mp4", isobmff.read


def _skip_file(_media: MediaFile, _texts: EmbeddedTexts) -> None:
    """Read nothing: a sound file of this kind has no place for a workflow."""


_SIGNATURES: Final[tuple[tuple[bytes, str, Reader], ...]] = (
    (png.SIGNATURE, "png", png.read),
    (b"\xff\xd8\xff", "jpeg", jpeg.read),
    (b"fLaC", "flac", vorbis_comments.read_flac),
    (b"OggS", "ogg", vorbis_comments.read_ogg),
    (b"ID3", "mp3", id3.read),
    (b"glTF", "glb", json_containers.read_gltf),
    (b"GIF8", "gif", _skip_file),
)
