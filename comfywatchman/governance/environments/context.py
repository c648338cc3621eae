"""Context shared by all gov commands: paths, settings, lock, uv and ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.clock import Clock
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import GovSettings
from comfywatchman.governance.uv.client import Uv


@dataclass(frozen=True)
class GovContext:
    """The governed root and the tools that a gov command works with.

    Attributes:
        layout: The governed root.
        settings: The settings of the root.
        uv: The uv client.
        clock: The clock.
        comfyui: The folder with ComfyUI's main.py.
        custom_nodes: The folder of its custom nodes.
        python: The interpreter for new environments: an absolute path, outside of any environment.
        lock_descriptor: The descriptor of the root's lock, for children; None in commands that only read.
        note: A message about an interrupted change or a running command; usually empty.
    """

    layout: GovLayout
    settings: GovSettings
    uv: Uv
    clock: Clock
    comfyui: Path
    custom_nodes: Path
    python: Path
    lock_descriptor: int | None
    note: str = ""

    @property
    def pass_on(self) -> tuple[int, ...]:
        """The descriptors that a child must inherit, so that the lock is held as long as the child runs."""
        return () if self.lock_descriptor is None else (self.lock_descriptor,)
