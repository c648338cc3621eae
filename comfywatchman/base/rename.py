"""Renames that never replace a file."""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_RENAME_NOREPLACE: Final = 1
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


def rename_without_replacing(source: str, target: str, *, folder: int) -> None:
    """Give a file of a folder another name there, in one step; an existing file of that name stays as it is.

    Linux does this with renameat2(RENAME_NOREPLACE). Filesystems without it (NFS, some of FUSE) get a second hard link
    and lose the first name after that, so that a crash in between leaves both names, never none.

    Args:
        source: Name in the folder.
        target: New name in the folder.
        folder: Descriptor of the folder.

    Raises:
        FileExistsError: The new name is taken, by whatever it is.
        OSError: The filesystem can neither rename so nor link, or something else is wrong.
    """
    rename = _load_renameat2()
    if rename is not None:
        try:
            rename(folder, source, folder, target)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    os.unlink(source, dir_fd=folder)


@cache
def _load_renameat2() -> Callable[[int, str, int, str], None] | None:
    import ctypes

    function: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def rename(from_folder: int, source: str, to_folder: int, target: str) -> None:
        names = os.fsencode(source), os.fsencode(target)
        if function(from_folder, names[0], to_folder, names[1], _RENAME_NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)

    return rename
