"""The comfywatchman panel: restart ComfyUI, or switch to another environment, from its own page.

This folder is a custom node pack. It runs inside ComfyUI, in ComfyUI's environment, so it uses the standard library and
the aiohttp of ComfyUI only.
"""

import logging
import os
import sys

NODE_CLASS_MAPPINGS: dict[str, type] = {}
WEB_DIRECTORY = "./web"

__all__ = ["NODE_CLASS_MAPPINGS", "WEB_DIRECTORY"]


def _register() -> None:
    # ComfyUI has imported its server by now; elsewhere, such as in a test, there is nothing to register with.
    instance = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if instance is None:
        return
    # Relative: ComfyUI loads this folder under a name of its own.
    from . import routes, spawning, workspace_files

    folder = os.path.dirname(os.path.abspath(__file__))
    settings = workspace_files.read_settings(folder)
    if settings is None:
        logging.getLogger(__name__).warning(
            "comfywatchman panel: panel.json is missing or damaged; install the panel again."
        )
        return
    if routes.register(instance, settings):
        spawning.ensure_environment(settings)


_register()
