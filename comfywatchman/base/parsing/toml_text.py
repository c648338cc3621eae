"""Parse TOML of which nothing is known beforehand, at a cost that its size bounds."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

MAX_KEY_PARTS: Final = 100
"""The parser needs memory for each part of a dotted key times the parts before it: 50,000 of them cost 10 GB."""

_TEXT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*+"|' + r"'[^'\n]*+'")
_LONG_KEY: Final = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}")


def parse_toml(text: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Args:
        text: The text.

    Raises:
        tomllib.TOMLDecodeError: It is not TOML, nests too deeply, or has a number or a key that is too long to be
            meant.
    """
    # A key may be quoted; what is inside quotes is no key part by itself.
    if text.count(".") >= MAX_KEY_PARTS and _LONG_KEY.search(_TEXT.sub("k", text)):
        raise tomllib.TOMLDecodeError(f"a key has more than {MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        # Python refuses integers of thousands of digits, and the parser calls itself for each level of nesting.
        raise tomllib.TOMLDecodeError(str(error)) from error
