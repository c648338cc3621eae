"""One line at the bottom of a terminal that is drawn again twice a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from comfywatchman.cli.render import create_console, printable

if TYPE_CHECKING:
    from rich.text import Text

_REFRESHES_PER_SECOND: Final = 2
_MINUTE: Final = 60  # seconds
_HOUR: Final = 60  # minutes


@contextmanager
def show_line(read_text: Callable[[], str], *, is_shown: bool = True) -> Iterator[None]:
    """Show a line on a terminal while the block runs; elsewhere nothing. What is printed meanwhile appears above it.

    Args:
        read_text: Returns the present text, in a thread of the display.
        is_shown: Whether it is wanted at all.
    """
    if not is_shown or not sys.stdout.isatty():
        yield
        return
    from rich.live import Live
    from rich.text import Text

    def render() -> Text:
        # One line: a longer text is cut, or each refresh would scroll.
        return Text(printable(read_text()), no_wrap=True, overflow="ellipsis")

    console = create_console()
    with Live(get_renderable=render, console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True):
        yield


def format_elapsed(seconds: float) -> str:
    """Return a duration as `12 s`, `3 min 05 s` or `2 h 03 min`."""
    minutes, rest = divmod(max(0, int(seconds)), _MINUTE)
    hours, minutes = divmod(minutes, _HOUR)
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {rest:02} s"
    return f"{rest} s"
