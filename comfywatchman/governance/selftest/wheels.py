"""Build tiny wheels, so that an environment can be tested without any network."""

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
    """Write a pure wheel whose only module has a `__version__` (PyPA specification, Binary distribution format).

    Args:
        folder: The folder for the wheel.
        name: The name of the package and of its module: letters and underscores.
        version: Its version.
        requires: Its requirement lines.
    """
    dist_info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    files = {
        f"{name}/__init__.py": f'__version__ = "{version}"\n',
        f"{dist_info}/METADATA": "\n".join([*metadata, "", ""]),
        f"{dist_info}/WHEEL": _WHEEL_FILE,
    }
    files[f"{dist_info}/RECORD"] = _build_record(files, dist_info)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, _TIMESTAMP), text)


def _build_record(files: Mapping[str, str], dist_info: str) -> str:
    rows = [f"{path},sha256={_hash_text(text)},{len(text)}" for path, text in files.items()]
    # RECORD lists itself without a hash.
    rows.append(f"{dist_info}/RECORD,,")
    return "\n".join([*rows, ""])


def _hash_text(text: str) -> str:
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
