"""The builds of torch that an environment may get: how the user names them, and which option of uv that is."""

from __future__ import annotations

import re
from typing import Final

from comfywatchman.base.errors import Failure

SKIP: Final = "skip"
INDEX: Final = "index"
CPU: Final = "cpu"
TORCH_FAMILY: Final = ("torch", "torchaudio", "torchvision")
_NO_BACKENDS: Final = frozenset({"auto", INDEX, SKIP})
_NAMED: Final = re.compile(r"auto|cpu|index|skip|xpu|cu1\d\d|rocm\d+(\.\d+)*")


def check_torch_builds(name: str) -> None:
    """Check the name of torch's builds.

    Raises:
        Failure: `version-bad-torch`.
    """
    if not _NAMED.fullmatch(name):
        raise Failure(
            "version-bad-torch",
            f"{name!r} names no builds of torch.",
            hint="Use auto (those for this machine's GPU), cpu, cu126 or another CUDA version, rocm6.4, xpu, index (as"
            " the package index has them) or skip.",
        )


def find_locked_backend(local_version: str | None) -> str | None:
    """Return the value of uv's option for builds that a lock names (`cu128`); None for those without an own index."""
    is_backend = local_version is not None and _NAMED.fullmatch(local_version) and local_version not in _NO_BACKENDS
    return local_version if is_backend else None


def choose_torch_backend(name: str) -> str | None:
    """Return the value of uv's option `--torch-backend`; None when the option is left out."""
    return None if name in {SKIP, INDEX} else name


def list_excluded_packages(name: str) -> tuple[str, ...]:
    """Return the packages that are not installed, whatever requires them."""
    return TORCH_FAMILY if name == SKIP else ()
