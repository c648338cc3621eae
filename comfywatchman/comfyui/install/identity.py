"""Which ComfyUI a stored fact belongs to: an id that outlives links, moves and reboots, but not another folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.base.filesystem import read_creation_time_ns
from comfywatchman.base.host import read_hostname, read_machine_id
from comfywatchman.base.settings import PathText


class ComfyUIIdentity(msgspec.Struct, frozen=True):
    """One ComfyUI on one machine.

    Attributes:
        id: Equal for the same ComfyUI only; see `identify_comfyui`. Empty when its folder cannot be examined.
        root: The folder that holds `main.py`, links resolved.
        base: The folder with models and custom nodes (`[comfyui] base_directory`), links resolved.
        hostname: Name of the machine, for people.
    """

    id: str
    root: PathText
    base: PathText
    hostname: str

    def is_same(self, recorded: ComfyUIIdentity | None) -> bool:
        """Return whether a recorded ComfyUI is this one; None is one of which nothing is recorded.

        While the folder cannot be examined (an unmounted disk), its path decides.
        """
        if recorded is None:
            return False
        if self.id:
            return self.id == recorded.id
        return (self.root, self.base, self.hostname) == (recorded.root, recorded.base, recorded.hostname)


def identify_comfyui(root: Path, base: Path | None = None) -> ComfyUIIdentity:
    """Return the identity of the ComfyUI in a folder.

    The id is a hash of the machine, of inode and creation time of `root`, and of the path of another `base`. So a link,
    a bind mount or a renamed folder is the same ComfyUI, and another folder put in its place is another one. A `base`
    inside of `root`, or around it, moves with it: then the path from one to the other counts. A copy of
    a whole filesystem (a snapshot of btrfs) cannot be told apart. Where the filesystem records no creation time, the
    path counts.

    Args:
        root: The folder that holds `main.py`.
        base: The folder with models and custom nodes; `root` when None.
    """
    real_root = os.path.realpath(root)
    real_base = real_root if base is None else os.path.realpath(base)
    identity = ComfyUIIdentity("", printable_path(real_root), printable_path(real_base), read_hostname())
    try:
        folder_key = _build_folder_key(real_root)
    except OSError:
        return identity
    parts = f"{read_machine_id()}\0{folder_key}\0{_build_base_key(real_root, real_base)}".encode(
        "utf-8", "surrogateescape"
    )
    return msgspec.structs.replace(identity, id=hashlib.blake2b(parts, digest_size=10).hexdigest())


def _build_folder_key(folder: str) -> str:
    inode = os.stat(folder).st_ino
    created_ns = read_creation_time_ns(Path(folder))
    # Without a creation time the inode means little: network filesystems renumber, and others reuse the numbers.
    return f"path:{folder}" if created_ns is None else f"inode:{inode}:{created_ns}"


def _build_base_key(root: str, base: str) -> str:
    """Return what tells one base of a ComfyUI from another one; nothing when it is `root` itself."""
    # Only the path: the base may be on a disk that is not mounted now, with an empty folder in its place.
    if base == root:
        return ""
    is_nested = os.path.commonpath([root, base]) in (root, base)
    return os.path.relpath(base, root) if is_nested else base
