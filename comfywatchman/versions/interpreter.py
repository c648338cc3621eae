"""Implementation, version and platform of a Python interpreter, as it reports them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.process import run_with_timeout

_QUESTION: Final = """
import json, platform, sys
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": platform.python_version(),
    "platform": sys.platform + "-" + platform.machine(),
}))
"""
_SECONDS: Final = 60.0


class InterpreterFacts(msgspec.Struct, frozen=True):
    """Implementation (`cpython`), exact version (`3.11.9`) and platform (`linux-x86_64`) of an interpreter."""

    implementation: str
    version: str
    platform: str


def read_interpreter(python: Path) -> InterpreterFacts:
    """Read implementation, version and platform of an interpreter, without running code of installed packages.

    Raises:
        Failure: `version-environment-unknown`.
    """
    try:
        result = run_with_timeout([str(python), "-I", "-S", "-c", _QUESTION], timeout_seconds=_SECONDS)
        if result.status == 0:
            return decode_json(result.output, InterpreterFacts)
        reason = f"it exited with status {result.status}"
    except Failure as failure:
        reason = failure.message
    except msgspec.MsgspecError as error:
        reason = f"its answer could not be read: {error}"
    raise Failure(
        "version-environment-unknown",
        f"{python} cannot be used as Python: {reason}",
        hint="Name the environment that ComfyUI runs with: --venv FOLDER",
    )
