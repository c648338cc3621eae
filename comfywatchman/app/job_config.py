"""The job agent's global_config.yaml as one more layer of the configuration."""

from __future__ import annotations

import os
from pathlib import Path

from comfywatchman.base.config import Home
from comfywatchman.base.config_schema import Layer
from comfywatchman.base.settings import Settings


def read_global_config(settings: Settings, home: Home) -> Layer | None:
    """Read the file that `[jobs] global_config` names, or config/global_config.yaml of the home folder.

    Args:
        settings: The settings of the other layers.
        home: The home folder.

    Returns:
        Its values; None when it is not named and there is none.

    Raises:
        Failure: `jobs-file-invalid`.
    """
    named = settings.jobs.global_config
    path = Path(named) if named else home.folder / "config" / "global_config.yaml"
    if not named and not os.path.lexists(path):
        return None
    from comfywatchman.jobs.files.global_config import read_config_layer

    return read_config_layer(path)
