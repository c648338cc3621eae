"""Run one reader on bytes, without a detour through format detection."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile


def read_texts(
    reader: Callable[[MediaFile, EmbeddedTexts], None], content: bytes, *, last_counts: bool = False
) -> EmbeddedTexts:
    texts = EmbeddedTexts(last_counts=last_counts)
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        reader(MediaFile(stream.fileno(), os.fstat(stream.fileno()).st_size), texts)
    return texts
