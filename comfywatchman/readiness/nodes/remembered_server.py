"""Remembers what a running ComfyUI answered to `/object_info`, while neither it nor models nor packs change.

The answer of a server with many packs takes seconds to build, download and parse; a steady cycle needs none of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, write_if_changed
from comfywatchman.comfyui.server.object_info import LiveNodes

MAX_AGE_SECONDS: Final = 3600.0
"""A pack may list files of its own, which nothing here looks at: an older answer could call a new one missing."""

_MAX_BYTES: Final = 256 << 20
_FORMAT: Final = 1
"""Raise this when `LiveNodes` changes its meaning."""


class RememberedServer(msgspec.Struct, frozen=True):
    """The nodes of a server.

    Attributes:
        format: See `_FORMAT`.
        key: Changes with everything that the answer depends on.
        asked_at: When the server was asked, as a POSIX time.
        nodes: Its nodes.
    """

    format: int
    key: str
    asked_at: float
    nodes: LiveNodes


def build_server_key(parts: Iterable[str]) -> str:
    """Return the key of an answer: the ComfyUI, its process and version, and the models and packs of this host."""
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def read_remembered_nodes(path: Path, key: str, *, now: float) -> LiveNodes | None:
    """Return the remembered nodes of a server; None when something has changed, or they are too old or unreadable."""
    try:
        remembered = msgspec.msgpack.decode(read_regular(path, max_bytes=_MAX_BYTES), type=RememberedServer)
    except (Failure, msgspec.MsgspecError, RecursionError):
        return None
    if (remembered.format, remembered.key) != (_FORMAT, key):
        return None
    # A negative age means that the clock was set back.
    return remembered.nodes if 0 <= now - remembered.asked_at < MAX_AGE_SECONDS else None


def remember_nodes(path: Path, key: str, nodes: LiveNodes, *, now: float) -> None:
    """Remember the nodes of a server; a file that cannot be written is no loss but time."""
    # A pack may give limits beyond 64 bits, which this format does not hold.
    with suppress(Failure, OverflowError, UnicodeEncodeError):
        write_if_changed(path, msgspec.msgpack.encode(RememberedServer(_FORMAT, key, now, nodes)))
