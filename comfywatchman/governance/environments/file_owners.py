"""Files that several packages of an environment own, by their RECORD files. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from comfywatchman.governance.store.records import SharedFiles


def group_shared_files(records: Mapping[str, Iterable[tuple[str, str]]]) -> tuple[SharedFiles, ...]:
    """Return the files that packages own together with different contents, by the packages and their module.

    Files with the same content, such as the empty `__init__.py` of a namespace, do no harm and are left out.

    Args:
        records: The path and hash of each file in the RECORD of each package, by normalised name.
    """
    owners: dict[str, dict[str, str]] = {}
    for package, rows in records.items():
        for path, digest in rows:
            if digest and not path.endswith(".pyc"):
                owners.setdefault(path, {})[package] = digest
    counts: dict[tuple[tuple[str, ...], str], int] = {}
    for path, digests in owners.items():
        if len(set(digests.values())) > 1:
            key = tuple(sorted(digests)), _find_module(path)
            counts[key] = counts.get(key, 0) + 1
    return tuple(
        SharedFiles(module=module, packages=packages, file_count=count)
        for (packages, module), count in sorted(counts.items())
    )


def _find_module(path: str) -> str:
    first = PurePosixPath(path).parts[0]
    # `..` leads to scripts outside of site-packages.
    return PurePosixPath(path).name if first == ".." else first.removesuffix(".py")
