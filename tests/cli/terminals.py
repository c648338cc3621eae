"""Commands in a pseudo-terminal of a given width, with keys that are typed when a prompt appears."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

DEADLINE_SECONDS = 60.0
INTERRUPT = "\x03"
INTERRUPT_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Session:
    """What a person saw, how the command ended, and all bytes as they came, with their escape sequences."""

    text: str
    status: int
    received: str = ""


def run_in_terminal(
    arguments: Sequence[str],
    keys: Sequence[tuple[str, str]],
    *,
    folder: Path,
    variables: Mapping[str, str],
    columns: int = 80,
    repeats_interrupt: bool = True,
) -> Session:
    """Run comfywatchman in a terminal.

    Args:
        arguments: Its arguments.
        keys: What is typed, each after the text that it waits for. A last Ctrl-C is typed again while the command says
            nothing to it, as people do: `input()` misses one that arrives while it still prepares the terminal.
        folder: The working folder.
        variables: The whole environment.
        columns: The width of the terminal.
        repeats_interrupt: Whether a last Ctrl-C is repeated; not for a command that handles the signal itself, which
            one that arrives while Python ends would kill.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "comfywatchman", *arguments]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={"TERM": "xterm", **variables},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        # Keys such as Ctrl-C reach the process only in its controlling terminal.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no other thread runs
    ) as process:
        os.close(follower)
        try:
            text = _converse(leader, list(keys), repeats_interrupt=repeats_interrupt)
            return Session(click.unstyle(text.replace("\r\n", "\n")), process.wait(DEADLINE_SECONDS), text)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{command} did not end after:\n{text}")
        finally:
            process.kill()
            os.close(leader)


def _has_reacted(text: str) -> bool:
    """Return whether a command wrote something after its question, besides what the terminal shows of the key."""
    return bool(text.replace("^C", "").strip(": \r\n"))


def _converse(leader: int, keys: list[tuple[str, str]], *, repeats_interrupt: bool) -> str:
    text = ""
    answered = 0
    interrupted = math.inf
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if keys and keys[0][0] in text[answered:]:
            expected, key = keys.pop(0)
            answered = text.index(expected, answered) + len(expected)
            os.write(leader, key.encode())
            if key == INTERRUPT and not keys and repeats_interrupt:
                interrupted = time.monotonic()
        elif time.monotonic() - interrupted > INTERRUPT_EVERY_SECONDS and not _has_reacted(text[answered:]):
            interrupted = time.monotonic()
            os.write(leader, INTERRUPT.encode())
        if not select.select([leader], [], [], 0.05)[0]:
            continue
        try:
            received = os.read(leader, 65536)
        except OSError:
            # The program has ended.
            break
        text += received.decode("utf-8", "replace")
    assert not keys, f"{keys[0][0]!r} did not appear in:\n{text}"
    return text
