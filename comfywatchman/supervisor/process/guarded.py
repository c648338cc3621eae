"""Runs a program to its end under the guard, so that nothing that it started is left, even when we are killed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ChildProcess, ProcessResult
from comfywatchman.supervisor.process import guard

_LOOK_SECONDS: Final = 0.2
_END_SECONDS: Final = 2 * guard.LIFELINE_GRACE_SECONDS


def run_guarded(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    extra_environment: Mapping[str, str] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ProcessResult:
    """Run a program to its end or its time limit; its errors are part of its output.

    Its descendants end with it, and everything ends with this process.

    Args:
        argv: The program and its arguments.
        timeout_seconds: Time after which it is ended with everything that it started.
        extra_environment: Variables in addition to those of the allow-list.
        is_cancelled: Returns whether to end it now; asked several times per second.

    Raises:
        Failure: `child-timeout`, `child-cancelled`, or `child-failed` when the guard could not be started; a program
            that could not be started has status 127.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    command = [sys.executable, "-I", "-S", guard.__file__, "--lifeline", str(reading), "--", *argv]
    try:
        with ChildProcess(command, extra_environment=extra_environment, pass_on=[reading]) as child:
            status, was_cancelled = _wait(child, timeout_seconds, is_cancelled)
            if status is not None:
                return ProcessResult(status, child.output_tail(), child.errors_tail())
            os.close(writing)
            writing = -1
            child.wait(_END_SECONDS)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if was_cancelled:
        raise Failure("child-cancelled", f"{Path(argv[0]).name} was ended before it was done.")
    raise Failure(
        "child-timeout",
        f"{Path(argv[0]).name} did not end within {timeout_seconds:g} seconds.",
        hint="Run it by hand to see where it hangs.",
    )


def _wait(child: ChildProcess, timeout_seconds: float, is_cancelled: Callable[[], bool]) -> tuple[int | None, bool]:
    """Wait for the end of a child; return its status, None when it still runs, and whether it is to be ended now."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        remaining_seconds = deadline - time.monotonic()
        status = child.wait(max(0.0, min(_LOOK_SECONDS, remaining_seconds)))
        if status is not None or remaining_seconds <= 0:
            return status, False
        if is_cancelled():
            return None, True
