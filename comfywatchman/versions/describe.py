"""Short descriptions of the parts of a lock, for people."""

from __future__ import annotations

from comfywatchman.versions.lockfile import LockedCode


def describe_code(code: LockedCode) -> str:
    """Return the commit of a code in short, and how many files differ from it."""
    if code.commit is None:
        return f"code {(code.code_sha256 or '')[:12]}"
    if code.dirty_tree is None:
        return code.commit[:12]
    return f"{code.commit[:12]} with {len(code.changed_files)} changed"
