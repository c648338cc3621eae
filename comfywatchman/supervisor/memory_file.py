"""The memory of a supervised ComfyUI over the last minutes, published for people who look at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, to_json, write_atomic
from comfywatchman.base.json_values import decode_json
from comfywatchman.supervisor.incidents import MemorySample

MEMORY_NAME: Final = "memory.json"
_MAX_BYTES: Final = 1 << 20


class PublishedMemory(msgspec.Struct, frozen=True):
    """Samples of the running ComfyUI, oldest first."""

    samples: tuple[MemorySample, ...] = ()
    schema_version: int = 1


def write_memory(metadata: Path, samples: Sequence[MemorySample]) -> None:
    """Write the samples; without any, the last ones stay.

    Raises:
        Failure: `state-unwritable`.
    """
    if samples:
        write_atomic(metadata / MEMORY_NAME, to_json(PublishedMemory(tuple(samples))), is_lasting=False)


def read_memory(metadata: Path) -> tuple[MemorySample, ...]:
    """Return the samples, oldest first; none when there are none, or the file is damaged."""
    try:
        content = read_regular(metadata / MEMORY_NAME, max_bytes=_MAX_BYTES)
        return decode_json(content, PublishedMemory).samples
    except (Failure, msgspec.MsgspecError):
        return ()
