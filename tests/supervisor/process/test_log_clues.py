from __future__ import annotations

import pytest

from comfywatchman.supervisor.process.log_clues import LogClue, find_clue

LOST = """got prompt
Traceback (most recent call last):
  File "main.py", line 300, in run
    await asyncio.gather(server_instance.publish_loop())
  File "server.py", line 900, in send_json
    await ws.send_json(message)
OSError: [Errno 113] No route to host
"""
DOWNLOAD = LOST.replace("publish_loop", "load").replace("send_json", "fetch")
CUDA = """Traceback (most recent call last):
  File "execution.py", line 1, in execute
RuntimeError: CUDA error: an illegal memory access was encountered
CUDA kernel errors might be asynchronously reported
"""


@pytest.mark.parametrize(
    ("log", "clue"),
    [
        ("", LogClue.NONE),
        ("Prompt executed in 3.2 seconds\n", LogClue.NONE),
        (LOST, LogClue.LOST_CLIENT),
        (
            LOST.replace(
                "OSError: [Errno 113] No route to host", "ConnectionResetError: Cannot write to closing transport"
            ),
            LogClue.LOST_CLIENT,
        ),
        (DOWNLOAD, LogClue.NONE),
        (CUDA, LogClue.STICKY_CUDA_ERROR),
        (CUDA + LOST, LogClue.LOST_CLIENT),
        (LOST + CUDA, LogClue.STICKY_CUDA_ERROR),
        ("Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.\n", LogClue.OUT_OF_MEMORY),
        ("Traceback (most recent call last):\nValueError: CUDA out of things\n", LogClue.NONE),
        ("OSError: [Errno 113] No route to host", LogClue.NONE),
    ],
)
def test_last_traceback_decides(log: str, clue: LogClue) -> None:
    assert find_clue(log) is clue
