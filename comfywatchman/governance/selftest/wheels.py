"""Packages of a few lines, made on the spot, so that an environment can be tried without any network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_TIMESTAMP: Final = (2026, 1, 1, 0, 0, 0)
_WHEEL_FILE: Final = "Wheel-Version: 1.0\nGenerator: comfywatchman\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def add_wheel(folder: Path, name: str, version: str, *, requires: Sequence[str] = ()) -> None:
    """Write a pure wheel whose module, named as the package, says its version (Binary distribution format, PyPA).

    Args:
        folder: Where it goes.
        name: The package and its module: letters and underscores.
        version: Its version.
        requires: Its requirement lines.
    """
    facts = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    files = {
        f"{name}/__init__.py": f'__version__ = "{version}"\n',
        f"{facts}/METADATA": "\n".join([*metadata, "", ""]),
        f"{facts}/WHEEL": _WHEEL_FILE,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{facts}/RECORD": _build_record(files, facts)}.items():
            archive.writestr(zipfile.ZipInfo(path, _TIMESTAMP), text)


def _build_record(files: Mapping[str, str], facts: str) -> str:
    rows = [f"{path},sha256={_hash_text(text)},{len(text)}" for path, text in files.items()]
    return "\n".join([*rows, f"{facts}/RECORD,,", ""])


def _hash_text(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode("ascii")
