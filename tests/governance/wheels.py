"""Tiny wheels, built in the test: a folder of them stands for the package index (`find_links`)."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

_MOMENT: Final = (2026, 11, 20, 12, 0, 0)
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def add_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    extras: Mapping[str, Sequence[str]] | None = None,
    scripts: Mapping[str, str] | None = None,
    misrecorded: Collection[str] = (),
    requires_python: str = "",
) -> Path:
    """Build a pure wheel and return it; the same arguments give the same bytes.

    Args:
        folder: Where it goes.
        name: The distribution; its module is the same name with underscores and has a `__version__`.
        version: Its version.
        requires: Its requirement lines.
        files: Further files, by path in site-packages.
        extras: Requirement lines of its extras.
        scripts: Console scripts by name, each `module:function`.
        misrecorded: Files whose hash in the RECORD is wrong, as some published wheels have them.
        requires_python: The versions of Python that it supports; any when empty.
    """
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {f"{module}/__init__.py": f'__version__ = "{version}"\n', **(files or {})}
    python_lines = f"Requires-Python: {requires_python}\n" if requires_python else ""
    content[f"{info}/METADATA"] = python_lines + _metadata(name, version, requires, extras or {})
    content[f"{info}/WHEEL"] = _WHEEL
    if scripts:
        lines = [f"{script} = {target}" for script, target in scripts.items()]
        content[f"{info}/entry_points.txt"] = "\n".join(["[console_scripts]", *lines, ""])
    content[f"{info}/RECORD"] = "".join(
        [*(_row(path, text + "?" * (path in misrecorded)) for path, text in content.items()), f"{info}/RECORD,,\n"]
    )
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, _MOMENT), text)
    return wheel


def _metadata(name: str, version: str, requires: Sequence[str], extras: Mapping[str, Sequence[str]]) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {line}" for line in requires]
    for extra, wanted in extras.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {line} ; extra == "{extra}"' for line in wanted]
    return "\n".join([*lines, "", ""])


def _row(path: str, text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(text.encode())}\n"
