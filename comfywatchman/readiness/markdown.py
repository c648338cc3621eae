"""Text that is safe inside Markdown, whatever a file name holds."""

from __future__ import annotations

import re
from typing import Final

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&@:^=])")
_INVISIBLE: Final = re.compile("[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class Safe(str):
    """Markdown of our own making; not escaped again."""

    __slots__ = ()


def visible(text: str) -> str:
    """Replace control, bidirectional and lone surrogate characters by their escapes."""
    return _INVISIBLE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def escape(text: object) -> Safe:
    """Return text that Markdown shows as it stands; `Safe` text is returned unchanged."""
    return text if isinstance(text, Safe) else Safe(_SPECIAL.sub(r"\\\1", visible(str(text))))


def code(text: object) -> Safe:
    """Return a code span that holds the text, fit for a table cell as well."""
    shown = visible(str(text)).replace("|", "\u2502")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return Safe(f"{fence}{pad}{shown}{pad}{fence}")


def link(url: str, text: str) -> Safe:
    """Return a link when the address is plain https without anything that could end it, else the address as code."""
    if re.fullmatch(r"https://[A-Za-z0-9._~/?=&%+,@:-]+", url):
        return Safe(f"[{escape(text)}]({url})")
    return code(url)
