"""Settings that `setup` proposes, each with its reason, and things that it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.app.session import Session
from comfywatchman.comfyui.server.running import ComfyUIProcess


@dataclass(frozen=True, slots=True)
class SetupChoices:
    """What a person, or `setup` itself, chose before the parts are asked.

    Attributes:
        comfyui: The folder of ComfyUI.
        process: The running ComfyUI of that folder, if there is one.
        python: The interpreter of `--python`, if given.
        url: The address of `--url`, if given.
    """

    comfyui: Path
    process: ComfyUIProcess | None = None
    python: Path | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class SetupFinding:
    """One line of what `setup` found, and the settings that follow.

    Attributes:
        name: Such as `Server`.
        text: What was found.
        settings: Keys and values to write, values as for `comfywatchman config set`.
    """

    name: str
    text: str
    settings: tuple[tuple[str, str], ...] = ()


SetupPart = Callable[[Session, SetupChoices], Iterable[SetupFinding]]
"""A part of `setup`: it looks at the machine and changes nothing."""
