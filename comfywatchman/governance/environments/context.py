"""What a governance command stands on: the root, how it is governed, its lock, uv and ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.clock import Clock
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import GovSettings
from comfywatchman.governance.uv.client import Uv


@dataclass(frozen=True)
class GovContext:
    """What a governance command works with.

    Attributes:
        layout: The governed root.
        settings: How it is governed.
        uv: uv.
        clock: The clocks of this machine.
        comfyui: The folder with ComfyUI's main.py.
        custom_nodes: The folder of its custom nodes.
        python: The interpreter that environments are made with: absolute, and of no environment.
        lock_descriptor: The descriptor of the root's lock, for children; None when only looking.
        note: What recovery finished, or why it could not look; empty as a rule.
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
        """The descriptors that a child must inherit, so that the lock lasts as long as the child does."""
        return () if self.lock_descriptor is None else (self.lock_descriptor,)
