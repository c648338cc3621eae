"""Wraps sentences, paths and commands to the width of a terminal, so that words, names and commands stay whole."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable, Sequence


def measure_width(text: str) -> int:
    """Return the number of terminal columns of a text without control characters."""
    width = 0
    for char in text:
        if unicodedata.combining(char):
            continue
        width += 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
    return width


def wrap_text(text: str, width: int, *, indent: str = "", hanging: str = "  ") -> list[str]:
    """Return a text as lines, broken between words.

    Args:
        text: One paragraph.
        width: Columns of the terminal.
        indent: Before the first line.
        hanging: Before each further line, in addition to the indent.
    """
    return _fill(text.split(" "), width, indent=indent, hanging=indent + hanging, joint=" ", end="")


def wrap_path(path: str, width: int, *, indent: str) -> list[str]:
    """Return a path as lines, broken after slashes only.

    Args:
        path: The path.
        width: Columns of the terminal.
        indent: Before the first line; further lines begin with as many spaces, and two more.
    """
    segments = path.split("/")
    parts = [f"{segment}/" for segment in segments[:-1]] + [segments[-1]]
    return _fill(parts, width, indent=indent, hanging=" " * (len(indent) + 2), joint="", end="")


def wrap_command(arguments: Iterable[str], width: int, *, indent: str) -> list[str]:
    """Return a command for a shell as lines, broken between arguments only."""
    parts = [shlex.quote(argument) for argument in arguments]
    return _fill(parts, width, indent=indent, hanging=f"{indent}  ", joint=" ", end=" \\")


def _fill(parts: Sequence[str], width: int, *, indent: str, hanging: str, joint: str, end: str) -> list[str]:
    """Join parts to lines that fit; a part that is wider than a line gets one of its own.

    Args:
        parts: What is never broken.
        width: Columns of the terminal.
        indent: Before the first line.
        hanging: Before each further line.
        joint: Between two parts of one line.
        end: At the end of each line but the last.
    """
    lines: list[str] = []
    line, is_empty = indent, True
    for number, part in enumerate(parts):
        room = width if number == len(parts) - 1 else width - len(end)
        joined = line + part if is_empty else line + joint + part
        if is_empty or measure_width(joined) <= room:
            line = joined
        else:
            lines.append(line + end)
            line = hanging + part
        is_empty = False
    return [*lines, line]
