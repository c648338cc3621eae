"""Job files with faults, for tests of the intake: valid ones with a few random changes of bytes, lines or values."""

from __future__ import annotations

import random
from importlib import resources
from typing import Final

SIGNS: Final = ("[", "]", "{", "}", "&a ", "*a", "!!python/object:os.system ", "|", ">", "'", '"', "\t", "%", "@", "- ")
VALUES: Final = (
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    ".nan",
    ".inf",
    "0x7fffffffffffffffffff",
    "9" * 400,
    "99999999999999999999",
    "18446744073709551615",
    "NO",
    "012",
    "12:30",
    "2026-01-31",
    "''",
    '"\\0"',
    '"\\ud800"',
    '"\\U0010FFFF"',
    "[]",
    "{}",
    "[[[[[[[[[[]]]]]]]]]]",
    "{a: {b: {c: [1, 2, {d: e}]}}}",
    "&x [*x]",
    "['4', 0]",
    "../../../etc/passwd",
    "/etc/passwd",
    "image/../../x",
    "C:\\\\x",
    "x" * 3000,
    "\u202e\u0000",
    "~",
    "!!binary aGk=",
    "!!set {a, b}",
    "*none",
    "portrait",
    "T2V",
)
SAMPLES: Final = resources.files("comfywatchman.jobs").joinpath("samples")


def read_seeds(folder: str = "jobs") -> list[str]:
    """Return the samples of a folder as texts."""
    return [path.read_text("utf-8") for path in sorted(SAMPLES.joinpath(folder).iterdir(), key=lambda path: path.name)]


def mutate(text: str, chance: random.Random) -> bytes:
    """Return a job file with one to three random changes."""
    content = text
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        change = chance.choice((change_value,) * 6 + (insert_sign, change_lines, change_indentation, cut))
        content = change(content, chance)
    encoded = content.encode("utf-8", "surrogatepass")
    return change_bytes(encoded, chance) if chance.random() < 0.2 else encoded


def change_value(text: str, chance: random.Random) -> str:
    """Replace the value of a field."""
    lines = text.split("\n")
    places = [number for number, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    if places:
        number = chance.choice(places)
        lines[number] = lines[number].partition(":")[0] + ": " + chance.choice(VALUES)
    return "\n".join(lines)


def insert_sign(text: str, chance: random.Random) -> str:
    """Insert a sign of YAML anywhere."""
    place = chance.randrange(len(text) + 1)
    return text[:place] + chance.choice(SIGNS) + text[place:]


def change_lines(text: str, chance: random.Random) -> str:
    """Delete, repeat or swap lines."""
    lines = text.split("\n")
    first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.randrange(3)
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return "\n".join(lines)


def change_indentation(text: str, chance: random.Random) -> str:
    """Indent a line by another number of spaces."""
    lines = text.split("\n")
    number = chance.randrange(len(lines))
    lines[number] = " " * chance.randrange(6) + lines[number].lstrip()
    return "\n".join(lines)


def cut(text: str, chance: random.Random) -> str:
    """End the file early, as while it is being written."""
    return text[: chance.randrange(len(text) + 1)]


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    """Replace single bytes by any others."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)
